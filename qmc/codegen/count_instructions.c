/* A plugin of qemu's user mode: counts the instructions that each layer of an emitted program
   executes, whatever it calls included. Arguments: prefix=<network>, out=<file>. The declarations
   are those of qemu-plugin.h, API version 1, which Debian's packages leave out. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translate_t)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*execute_t)(unsigned, void *);
typedef void (*finish_t)(qemu_plugin_id_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_t);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execute_t, int, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, finish_t, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

#define LAYERS 1000
enum { OUTSIDE = LAYERS, CALLED }; /* the program around the layers; what they call */

struct block {
    int layer;
    uint64_t instructions;
};

static char prefix[256], out[4096];
static uint64_t counts[LAYERS + 1];
static int current = OUTSIDE;

/* The layer whose function a symbol is: <prefix>_l<index>_... */
static int layer_of(const char *symbol)
{
    const size_t length = strlen(prefix);
    int index;
    if (!symbol || strncmp(symbol, prefix, length) != 0) {
        return CALLED;
    }
    if (sscanf(symbol + length, "_l%3d_", &index) == 1 && index >= 0 && index < LAYERS) {
        return index;
    }
    return strcmp(symbol + length, "_run") == 0 ? OUTSIDE : CALLED;
}

static void execute(unsigned cpu, void *data)
{
    const struct block *block = data;
    (void)cpu;
    if (block->layer != CALLED) {
        current = block->layer;
    }
    counts[current] += block->instructions;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *block = malloc(sizeof *block);
    (void)id;
    if (block) {
        block->layer = layer_of(qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0)));
        block->instructions = qemu_plugin_tb_n_insns(tb);
        qemu_plugin_register_vcpu_tb_exec_cb(tb, execute, 0, block);
    }
}

static void finish(qemu_plugin_id_t id, void *data)
{
    FILE *file = fopen(out, "w");
    (void)id;
    (void)data;
    for (int i = 0; file && i < LAYERS; i++) {
        if (counts[i]) {
            fprintf(file, "%d %" PRIu64 "\n", i, counts[i]);
        }
    }
    if (file) {
        fclose(file);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id,
                                                               const void *info, int argc,
                                                               char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        sscanf(argv[i], "prefix=%255s", prefix);
        sscanf(argv[i], "out=%4095s", out);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
