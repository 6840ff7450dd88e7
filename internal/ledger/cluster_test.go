package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

// slot is where a cluster keeps a key: CRC16 (XMODEM) of its hash tag.
func slot(key string) uint16 {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	crc := uint16(0)
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
	}
	return crc % 16384
}

func TestSlot(t *testing.T) {
	for key, want := range map[string]uint16{"123456789": 12739, "a{123456789}b{c}": 12739, "foo": 12182, "{}foo": slot("{}foo")} {
		if got := slot(key); got != want {
			t.Errorf("slot(%q) = %d, want %d", key, got, want)
		}
	}
}

// TestCluster lives a job's life on a cluster, which refuses scripts and
// commands that reach over several slots or take keys they have not declared.
func TestCluster(t *testing.T) {
	t.Parallel()
	server := redistest.StartReal(t, redistest.With("cluster-enabled", "yes"))
	node := server.Client()
	if err := node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		return strings.Contains(node.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	conn := must[*redisconn.Conn](t)(redisconn.Open("redis-cluster://" + server.Addr))
	t.Cleanup(func() { _ = conn.Close() })
	h := watch(conn.Client)
	life(t, conn.Client)

	missing := scriptFiles()
	for _, call := range h.seen() {
		delete(missing, call.name)
		for _, key := range call.keys {
			if slot(key) != slot(call.keys[0]) {
				t.Errorf("%s: %s and %s are in different slots", call.name, call.keys[0], key)
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("never called: %v", missing)
	}
}

// life is that of two jobs, with every call that the ledger knows.
func life(t *testing.T, client redis.UniversalClient) {
	l, ctx := newLedger(t, client), t.Context()
	dead := newLedger(t, client)
	job := sealed(t, l, Spec{ID: "a", SendAt: time.UnixMilli(1)}, 2, 2)
	sealed(t, l, Spec{ID: "b"}, 1, 1)
	if !must[bool](t)(l.Start(ctx, "a")) {
		t.Error("the scheduled job has not started")
	}
	old := claimed(t, dead, job)
	commit(t, old, to(InFlight, 0, 1))
	if err := l.NoteTokens(ctx, "a", time.Now()); err != nil {
		t.Error(err)
	}
	alive := must[[]string](t)(l.Beat(ctx))
	active := active(t, l)
	if len(active) != 2 || len(active[0].Abandoned(alive)) != 1 {
		t.Errorf("active: %+v", active)
	}
	if _, err := l.Free(ctx, "a", old.Name, old.claim); err != nil {
		t.Error(err)
	}
	if n := must[int](t)(old.Late(ctx, []int32{0}, 1)); n != 1 {
		t.Errorf("%d late answers", n)
	}
	for state := StateRunning; state != StateFinished; {
		s := claimed(t, l, job)
		for i := range pending(s) {
			state = commit(t, s, to(Sent, i))
		}
		release(t, s)
	}
	counts(t, l, "a")
	sealed(t, l, Spec{ID: "d"}, 1, 2)
	must[Change](t)(l.Cancel(ctx, "d"))
	if done := must[Settled](t)(l.Settle(ctx, "d")); !done.Ended {
		t.Errorf("settled: %+v", done)
	}
	if states := must[map[string]State](t)(l.StatesOf(ctx, []string{"a", "d"})); states["d"] != StateCancelled || len(states) != 2 {
		t.Errorf("states: %v", states)
	}
	if err := l.Delete(ctx, "d"); err != nil {
		t.Error(err)
	}
	begun(t, l, Spec{ID: "e"})
	d := must[*Draft](t)(l.Draft(ctx, "e", 0))
	put(t, d, 2, 1)
	put(t, d, 1, 1)
	if held := must[bool](t)(d.renew(ctx)); !held {
		t.Error("the right to add is lost")
	}
	must[State](t)(d.Start(ctx))
	closed(t, d)
	must[Change](t)(l.Cancel(ctx, "e"))
	must[Settled](t)(l.Settle(ctx, "e"))
	deleted(t, l, "e")
	if n := len(rows(t, l, "a")); n != 4 {
		t.Errorf("%d rows", n)
	}
	jobs := 0
	for _, err := range l.Jobs(ctx, "") {
		if jobs++; err != nil {
			t.Error(err)
		}
	}
	if jobs != 2 {
		t.Errorf("%d jobs", jobs)
	}
	enter(t, client, l.indexKey(), "gone", 2*sealGrace)
	must[uint64](t)(l.Trim(ctx, 0))
	if left := members(t, client, l.indexKey()); len(left) != 2 {
		t.Errorf("index: %v", left)
	}
	for _, err := range []error{
		second(l.Ended(ctx, "a")), l.Delete(ctx, "a"), l.Bury(ctx), loaded(t, l, Spec{ID: "c"}, 1, 1).Abort(ctx),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}
