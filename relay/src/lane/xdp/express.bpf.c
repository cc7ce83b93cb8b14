// The express lane: settled rows of the socket lane, executed in the driver.
//
// What this cannot decide it passes up, to the socket that still owns the port: order is kept by a word of the row that
// both sides change by compare-and-swap (see rows.rs, which has the same layout, for what its states mean). Every RTP packet
// that is decided here is told to the row's worker, in order, through its ring buffer; with its bytes where the call is
// recorded. The worker replays it, so that figures, tap and masks are the same as on the socket lane.
//
// Needs Linux 5.15: atomic compare-and-swap is of 5.12, maps of ring buffers are of 5.8.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// States of a row, the low bits of its control word.
#define STATE 7ull
#define FREE 0ull
#define REST 1ull
#define PENDING 2ull
#define ACTIVE 3ull
#define LOCKED 8ull
// Packets passed up since it is pending.
#define ONE_PASSED (1ull << 32)

// Verdicts that are told.
#define FORWARDED 0
#define LIMITED 1

#define RTP_HEADER 12
// Bytes of a packet that are told: of one that is not tapped, of one that fits into the usual record, of a long one.
#define USUAL 232
#define LONG 1480
#define TRIES 16
#define ONE_SECOND 1000000000ull

struct address {
	__be32 words[4];
};

// A port of this host: where a row's packets go to.
struct place {
	struct address address;
	__be16 port;
	__u16 unused;
};

struct row {
	// Changed with every packet.
	__u64 control;
	// Sequence and time-stamp of the newest RTP that was passed up.
	__u64 passed;
	__u64 packets;
	__u64 bytes;
	__u64 last_ns;
	__u64 cap_left;
	__u64 cap_filled_ns;
	// Packets that were decided here and that the ring had no room for, and their bytes.
	__u64 untold;
	__u64 untold_bytes;
	// From elsewhere than the row's source; dropped.
	__u64 mismatched;
	// How frames reach the one who sends to this port, as seen in what came: its and our hardware address with the VLAN tag
	// (0 for none), and the interface. All zero: not seen yet.
	__u64 hop_there;
	__u64 hop_here;
	__u32 hop_interface;
	__u32 unused;
	// Written by the worker while the row rests.
	__u64 accepts[2];
	__u64 tapped[2];
	struct address source;
	struct address local;
	struct address destination;
	__be16 source_port;
	__be16 local_port;
	__be16 destination_port;
	// Where the row is of IPv4.
	__u8 ipv4;
	// Of the packets that leave: the DSCP and the ECN bits, as IPv4 has them.
	__u8 tos;
	__be32 ssrc;
	__be32 shown;
	__u32 add_timestamp;
	__u16 add_sequence;
	// What of it is tapped is told with its bytes.
	__u16 tapping;
	__u32 cap_per_second;
	// The row of the other leg: what comes here leaves the way that one's packets came.
	__u32 peer;
	__u32 worker;
	__u32 generation;
} __attribute__((aligned(256)));

_Static_assert(sizeof(struct row) == 256, "rows.rs has the same layout");

struct told {
	__u64 at_ns;
	__u32 row;
	__u32 generation;
	// Of the whole packet.
	__u16 length;
	__u16 verdict;
	__u32 unused;
};

struct usual {
	struct told told;
	__u8 packet[USUAL];
};

struct bare {
	struct told told;
	__u8 packet[16];
};

struct large {
	struct told told;
	__u8 packet[LONG];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct row);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct place);
	__type(value, __u32);
} places SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

// One per worker.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

// When each worker was alive last, monotonic nanoseconds.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} alive SEC(".maps");

// Rows of a worker that was not alive for so long are no longer executed.
volatile const __u64 EXPIRY_NS = 60 * ONE_SECOND;

// A frame, as far as it was understood.
struct frame {
	struct ethhdr *ethernet;
	__be16 *vlan;
	int ipv4;
	struct address source;
	struct address target;
	struct udphdr *udp;
	__u8 *payload;
	__u32 length;
};

static __always_inline __u64 load(__u64 *word) { return *(volatile __u64 *)word; }

static __always_inline int same_address(const struct address *a, const struct address *b) {
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] &&
	       a->words[3] == b->words[3];
}

static __always_inline void mapped(struct address *to, __be32 ipv4) {
	to->words[0] = to->words[1] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = ipv4;
}

static __always_inline void copy_address(struct address *to, const void *from) {
	const __be32 *words = from;
	to->words[0] = words[0];
	to->words[1] = words[1];
	to->words[2] = words[2];
	to->words[3] = words[3];
}

static __always_inline __u16 fold(__u64 sum) {
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline __u64 sum_ipv4(struct iphdr *header) {
	__u16 *half = (__u16 *)header;
	__u64 sum = 0;
#pragma unroll
	for (int n = 0; n < 10; n++)
		sum += half[n];
	return sum;
}

// Whether the frame is UDP over plain IPv4 or IPv6 with a whole packet in it.
static __always_inline int parse(struct xdp_md *ctx, struct frame *frame) {
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	void *next = ethernet + 1;
	if (next > end)
		return 0;
	__be16 kind = ethernet->h_proto;
	frame->ethernet = ethernet;
	frame->vlan = 0;
	if (kind == bpf_htons(ETH_P_8021Q)) {
		__be16 *tag = next;
		next = tag + 2;
		if (next > end)
			return 0;
		frame->vlan = tag;
		kind = tag[1];
	}
	__u32 length;
	if (kind == bpf_htons(ETH_P_IP)) {
		struct iphdr *header = next;
		next = header + 1;
		if (next > end || header->version != 4 || header->ihl != 5 || header->protocol != IPPROTO_UDP ||
		    header->frag_off & bpf_htons(0x3fff) || header->ttl <= 1)
			return 0;
		length = bpf_ntohs(header->tot_len);
		if (length < sizeof(*header) || fold(sum_ipv4(header)) != 0xffff)
			return 0;
		length -= sizeof(*header);
		frame->ipv4 = 1;
		mapped(&frame->source, header->saddr);
		mapped(&frame->target, header->daddr);
	} else if (kind == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *header = next;
		next = header + 1;
		if (next > end || header->version != 6 || header->nexthdr != IPPROTO_UDP || header->hop_limit <= 1)
			return 0;
		length = bpf_ntohs(header->payload_len);
		frame->ipv4 = 0;
		copy_address(&frame->source, &header->saddr);
		copy_address(&frame->target, &header->daddr);
	} else {
		return 0;
	}
	struct udphdr *udp = next;
	next = udp + 1;
	if (next > end || bpf_ntohs(udp->len) != length || length < sizeof(*udp) || length > LONG + sizeof(*udp))
		return 0;
	if (!frame->ipv4 && !udp->check)
		return 0;
	length -= sizeof(*udp);
	if (next + length > end)
		return 0;
	frame->udp = udp;
	frame->payload = next;
	frame->length = length;
	return 1;
}

static __always_inline struct row *find(struct frame *frame, __u32 *index) {
	struct place place = {.address = frame->target, .port = frame->udp->dest};
	__u32 *found = bpf_map_lookup_elem(&places, &place);
	if (!found)
		return 0;
	*index = *found;
	return bpf_map_lookup_elem(&rows, index);
}

// Takes note of how the row's party is reached. Rarely changes, so is rarely written.
static __always_inline void learn_hop(struct xdp_md *ctx, struct frame *frame, struct row *row) {
	__u64 there = 0, here = 0;
	__builtin_memcpy(&there, frame->ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(&here, frame->ethernet->h_dest, ETH_ALEN);
	if (frame->vlan)
		there |= (__u64)frame->vlan[0] << 48;
	if (frame->vlan)
		here |= 1ull << 48;
	if (row->hop_there != there || row->hop_here != here || row->hop_interface != ctx->ingress_ifindex) {
		row->hop_interface = ctx->ingress_ifindex;
		row->hop_here = here;
		row->hop_there = there;
	}
}

// A packet goes up. It is counted where the row waits for the worker to have them all, and a row that is executed here
// rests from now on: those behind it would overtake it.
static __always_inline int up(struct row *row, __u64 header) {
	row->passed = header;
	for (int n = 0; n < TRIES; n++) {
		__u64 before = load(&row->control), after = REST;
		if ((before & STATE) == PENDING)
			after = before + ONE_PASSED;
		else if ((before & STATE) != ACTIVE)
			break;
		if (!(before & LOCKED) && __sync_val_compare_and_swap(&row->control, before, after) == before)
			break;
	}
	return XDP_PASS;
}

// As the socket lane's: a bucket that holds one second's packets.
static __always_inline int admits(struct row *row, __u64 now) {
	__u64 rate = row->cap_per_second;
	if (!rate)
		return 1;
	__u64 filled = row->cap_filled_ns;
	__u64 span = now > filled ? now - filled : 0;
	if (span > ONE_SECOND)
		span = ONE_SECOND;
	__u64 left = row->cap_left + span * rate;
	if (left > rate * ONE_SECOND)
		left = rate * ONE_SECOND;
	if (now > filled)
		row->cap_filled_ns = now;
	int admitted = left >= ONE_SECOND;
	row->cap_left = admitted ? left - ONE_SECOND : left;
	return admitted;
}

// Copies a packet of at most `room` bytes, a multiple of eight: whole words, then what is left.
static __always_inline void copy(__u8 *to, struct frame *frame, void *end, __u32 room) {
	__u8 *from = frame->payload;
	__u32 length = frame->length, n = 0;
	for (; n + 8 <= room; n += 8) {
		if (n + 8 > length || (void *)(from + n + 8) > end)
			break;
		*(__u64 *)(to + n) = *(__u64 *)(from + n);
	}
	for (int rest = 0; rest < 7; rest++) {
		if (n >= length || n >= room || (void *)(from + n + 1) > end)
			break;
		to[n] = from[n];
		n++;
	}
}

static __always_inline void fill(struct told *told, struct row *row, struct frame *frame, __u32 index, __u64 now,
				 int verdict) {
	told->at_ns = now;
	told->row = index;
	told->generation = row->generation;
	told->length = frame->length;
	told->verdict = verdict;
	told->unused = 0;
}

// Tells the worker of a packet, as it came. False: there was no room.
static __always_inline int tell(struct xdp_md *ctx, struct row *row, struct frame *frame, __u32 index, __u64 now,
				int verdict, int tapped) {
	void *end = (void *)(long)ctx->data_end;
	__u32 worker = row->worker;
	void *ring = bpf_map_lookup_elem(&rings, &worker);
	if (!ring)
		return 0;
	if (!tapped) {
		struct bare *bare = bpf_ringbuf_reserve(ring, sizeof(*bare), 0);
		if (!bare)
			return 0;
		fill(&bare->told, row, frame, index, now, verdict);
		__builtin_memcpy(bare->packet, frame->payload, RTP_HEADER);
		bpf_ringbuf_submit(bare, BPF_RB_NO_WAKEUP);
	} else if (frame->length <= USUAL) {
		struct usual *usual = bpf_ringbuf_reserve(ring, sizeof(*usual), 0);
		if (!usual)
			return 0;
		fill(&usual->told, row, frame, index, now, verdict);
		copy(usual->packet, frame, end, USUAL);
		bpf_ringbuf_submit(usual, BPF_RB_NO_WAKEUP);
	} else {
		struct large *large = bpf_ringbuf_reserve(ring, sizeof(*large), 0);
		if (!large)
			return 0;
		fill(&large->told, row, frame, index, now, verdict);
		copy(large->packet, frame, end, LONG);
		bpf_ringbuf_submit(large, BPF_RB_NO_WAKEUP);
	}
	return 1;
}

// Gives the packet the other leg's addresses and numbers; checksums follow. (RFC 1624.)
static __always_inline void rewrite(struct xdp_md *ctx, struct frame *frame, struct row *row) {
	void *end = (void *)(long)ctx->data_end;
	void *network = (void *)(long)ctx->data + sizeof(struct ethhdr) + (frame->vlan ? 4 : 0);
	struct udphdr *udp = frame->udp;
	__u64 sum = 0;
	if (frame->ipv4) {
		struct iphdr *header = network;
		if ((void *)(header + 1) > end)
			return;
		sum += (__u32)~header->saddr + (__u64)row->local.words[3];
		sum += (__u32)~header->daddr + (__u64)row->destination.words[3];
		header->saddr = row->local.words[3];
		header->daddr = row->destination.words[3];
		header->ttl -= 1;
		header->tos = row->tos;
		// Never fragmented, so it needs no number, and tells nothing of who sent it (RFC 6864).
		header->frag_off = bpf_htons(0x4000);
		header->id = 0;
		header->check = 0;
		header->check = ~fold(sum_ipv4(header));
	} else {
		struct ipv6hdr *header = network;
		if ((void *)(header + 1) > end)
			return;
		__be32 *from = (__be32 *)&header->saddr, *to = (__be32 *)&header->daddr;
#pragma unroll
		for (int n = 0; n < 4; n++) {
			sum += (__u32)~from[n] + (__u64)row->local.words[n];
			sum += (__u32)~to[n] + (__u64)row->destination.words[n];
			from[n] = row->local.words[n];
			to[n] = row->destination.words[n];
		}
		header->hop_limit -= 1;
		// Version, traffic class, no flow label.
		*(__be32 *)header = bpf_htonl(0x60000000 | (__u32)row->tos << 20);
	}
	__be16 *sequence = (__be16 *)(frame->payload + 2);
	__be32 *timestamp = (__be32 *)(frame->payload + 4), *ssrc = (__be32 *)(frame->payload + 8);
	__be16 new_sequence = bpf_htons(bpf_ntohs(*sequence) + row->add_sequence);
	__be32 new_timestamp = bpf_htonl(bpf_ntohl(*timestamp) + row->add_timestamp);
	sum += (__u16)~udp->source + (__u64)row->local_port;
	sum += (__u16)~udp->dest + (__u64)row->destination_port;
	sum += (__u16)~*sequence + (__u64)new_sequence;
	sum += (__u32)~*timestamp + (__u64)new_timestamp;
	sum += (__u32)~*ssrc + (__u64)row->shown;
	udp->source = row->local_port;
	udp->dest = row->destination_port;
	*sequence = new_sequence;
	*timestamp = new_timestamp;
	*ssrc = row->shown;
	// None stays none; 0 is what none looks like (RFC 768).
	if (udp->check) {
		__u16 check = ~fold(sum + (__u16)~udp->check);
		udp->check = check ? check : 0xffff;
	}
}

SEC("xdp")
int express(struct xdp_md *ctx) {
	struct frame frame;
	if (!parse(ctx, &frame))
		return XDP_PASS;
	__u32 index = 0;
	struct row *row = find(&frame, &index);
	if (!row)
		return XDP_PASS;
	__u64 control = load(&row->control);
	if ((control & STATE) == FREE)
		return XDP_PASS;
	if (frame.udp->source != row->source_port || !same_address(&frame.source, &row->source)) {
		__sync_fetch_and_add(&row->mismatched, 1);
		return XDP_DROP;
	}
	void *end = (void *)(long)ctx->data_end;
	if (frame.length < RTP_HEADER || (void *)(frame.payload + RTP_HEADER) > end)
		return XDP_PASS;
	__u8 first = frame.payload[0], second = frame.payload[1], kind = second & 0x7f;
	// RTCP on the same port (RFC 5761), or no RTP.
	if (first >> 6 != 2 || (second >= 192 && second <= 223))
		return XDP_PASS;
	learn_hop(ctx, &frame, row);
	__u64 header = (__u64)bpf_ntohs(*(__be16 *)(frame.payload + 2)) << 32 | bpf_ntohl(*(__be32 *)(frame.payload + 4));
	__u64 worker_alive = 0;
	__u32 worker = row->worker;
	__u64 *beat = bpf_map_lookup_elem(&alive, &worker);
	if (beat)
		worker_alive = load(beat);
	__u64 now = bpf_ktime_get_ns();
	if (now - worker_alive > EXPIRY_NS && now > worker_alive)
		return up(row, header);
	if ((control & STATE) != ACTIVE)
		return up(row, header);
	__u64 accepts = kind < 64 ? row->accepts[0] : row->accepts[1];
	if (first != 0x80 || !(accepts >> (kind & 63) & 1) || *(__be32 *)(frame.payload + 8) != row->ssrc ||
	    frame.ipv4 != row->ipv4)
		return up(row, header);
	__u32 peer_index = row->peer;
	struct row *peer = bpf_map_lookup_elem(&rows, &peer_index);
	if (!peer)
		return up(row, header);
	__u64 there = peer->hop_there, here = peer->hop_here;
	__u32 interface = peer->hop_interface;
	// A tag can be changed here, not put in or taken out.
	if (!interface || (here >> 48 != 0) != (frame.vlan != 0))
		return up(row, header);

	int locked = 0;
	for (int n = 0; n < TRIES && !locked; n++) {
		__u64 before = load(&row->control);
		if ((before & STATE) != ACTIVE)
			return up(row, header);
		if (!(before & LOCKED))
			locked = __sync_val_compare_and_swap(&row->control, before, before | LOCKED) == before;
	}
	if (!locked)
		return XDP_PASS;
	int admitted = admits(row, now);
	__u64 tapped = kind < 64 ? row->tapped[0] : row->tapped[1];
	int tap = row->tapping && (tapped >> (kind & 63) & 1) && admitted;
	if (!tell(ctx, row, &frame, index, now, admitted ? FORWARDED : LIMITED, tap)) {
		row->untold += 1;
		row->untold_bytes += frame.length;
	}
	if (admitted) {
		row->packets += 1;
		row->bytes += frame.length;
		row->last_ns = now;
		rewrite(ctx, &frame, row);
		__builtin_memcpy(frame.ethernet->h_dest, &there, ETH_ALEN);
		__builtin_memcpy(frame.ethernet->h_source, &here, ETH_ALEN);
		if (frame.vlan)
			frame.vlan[0] = there >> 48;
	}
	__sync_fetch_and_and(&row->control, ~LOCKED);
	if (!admitted)
		return XDP_DROP;
	return interface == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(interface, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
