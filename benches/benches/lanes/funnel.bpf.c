// Steers every datagram for a range of ports into one socket. FIRST_PORT and LAST_PORT come with -D.
#include <linux/bpf.h>

#define SECTION(name) __attribute__((section(name), used))
#define UDP 17

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const assign)(struct bpf_sk_lookup *, void *sk, __u64 flags) = (void *)BPF_FUNC_sk_assign;
static long (*const release)(void *sk) = (void *)BPF_FUNC_sk_release;

struct {
    int (*type)[BPF_MAP_TYPE_SOCKMAP];
    int (*max_entries)[1];
    __u32 *key;
    __u32 *value;
} funnel SECTION(".maps");

SECTION("sk_lookup")
int steer(struct bpf_sk_lookup *lookup)
{
    const __u32 only = 0;

    if (lookup->protocol != UDP || lookup->local_port < FIRST_PORT || lookup->local_port > LAST_PORT)
        return SK_PASS;
    void *socket = map_lookup(&funnel, &only);
    if (!socket)
        return SK_PASS;
    assign(lookup, socket, 0);
    release(socket);
    return SK_PASS;
}

char terms[] SECTION("license") = "Dual MIT/GPL";
