package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// rejections lists what is kept, and how many keys hold it.
func rejections(t testing.TB, l *Ledger, payloads bool) (list []Rejection, keys int) {
	t.Helper()
	for r, err := range l.Rejections(t.Context(), payloads) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list, len(must[[]string](t)(l.client.Keys(t.Context(), l.rejectedKey()+"*").Result()))
}

func reject(t testing.TB, l *Ledger, list ...Rejection) {
	t.Helper()
	for _, r := range list {
		before := time.Now()
		if err := l.Reject(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		// Times are kept to the millisecond, and tell the order.
		eventually(t, "a millisecond passes", func() bool { return time.Since(before) > time.Millisecond })
	}
}

func TestRejections(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		if list, keys := rejections(t, l, true); list != nil || keys != 0 {
			t.Errorf("before anything was rejected: %v, %d keys", list, keys)
		}
		given := []Rejection{
			{ID: "a", Type: "message:send", Problem: "msg: is required", Payload: []byte(`{"target":["u1"]}`)},
			{ID: "b", Type: "other", Problem: "type", Payload: nil},
			{ID: "{c}:\n*\x00", Type: "message:send", Problem: "two\nlines", Payload: []byte("\xff\x00z")},
			{ID: "a", Type: "message:send", Problem: "msg: is required", Payload: bytes.Repeat([]byte("0123456789"), 100_000)},
		}
		began := time.Now().Truncate(time.Millisecond)
		reject(t, l, given...)
		want := slices.Clone(given)
		slices.Reverse(want)
		for i := range want {
			want[i].Bytes = len(want[i].Payload)
		}
		list, keys := rejections(t, l, true)
		ignore := cmp.Options{cmpopts.IgnoreFields(Rejection{}, "At"), cmp.Comparer(bytes.Equal)}
		if diff := cmp.Diff(want, list, ignore); diff != "" {
			t.Errorf("newest first (-want +got):\n%.2000s", diff)
		}
		for _, r := range list {
			if r.At.Before(began) || r.At.After(time.Now()) {
				t.Errorf("%q was rejected at %v", r.ID, r.At)
			}
		}
		if keys != len(given)+1 {
			t.Errorf("%d keys for %d payloads", keys, len(given))
		}
		for i := range want {
			want[i].Payload = nil
		}
		if list, _ = rejections(t, l, false); !cmp.Equal(want, list, ignore) {
			t.Errorf("without payloads: %+v", list)
		}

		// The same again is no new entry, and moves to the front.
		again := given[0]
		again.Problem = "msg: is still required"
		reject(t, l, again)
		if list, keys = rejections(t, l, true); len(list) != len(given) || keys != len(given)+1 || list[0].Problem != again.Problem {
			t.Errorf("rejected again: %+v, %d keys", list, keys)
		}
	})
}

func TestRejectionsExpire(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		short := newLedger(t, client, func(c *Config) { c.Retention = 300 * time.Millisecond })
		reject(t, short, Rejection{ID: "a"}, Rejection{ID: "b"})
		ttl := must[time.Duration](t)(client.PTTL(t.Context(), short.rejectionKey(Rejection{ID: "a"}.entry())).Result())
		if ttl <= 0 || ttl > 300*time.Millisecond {
			t.Errorf("the payload is kept for %v", ttl)
		}
		eventually(t, "nothing is left", func() bool {
			list, keys := rejections(t, short, true)
			return list == nil && keys == 0
		})

		// An index entry goes with the next rejection once its payload has.
		reject(t, short, Rejection{ID: "a"})
		rejected := time.Now()
		if err := client.Persist(t.Context(), short.rejectedKey()).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the payload has expired, by our clock, too", func() bool {
			_, keys := rejections(t, short, true)
			return keys == 1 && time.Since(rejected) > 300*time.Millisecond
		})
		reject(t, short, Rejection{ID: "c"})
		if left := members(t, client, short.rejectedKey()); len(left) != 1 {
			t.Errorf("the index holds %v", left)
		}
	})
}

func TestManyRejections(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		const many = 250 // more than are asked for at a time
		for i := range many {
			if err := l.Reject(t.Context(), Rejection{ID: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		list, _ := rejections(t, l, false)
		seen := map[string]bool{}
		for i, r := range list {
			seen[r.ID] = true
			if i > 0 && r.At.After(list[i-1].At) {
				t.Fatalf("%s is behind an older one", r.ID)
			}
		}
		if len(list) != many || len(seen) != many {
			t.Errorf("%d rejections of %d tasks, want %d", len(list), len(seen), many)
		}
		for r, err := range l.Rejections(t.Context(), true) {
			if err != nil || r.ID != list[0].ID {
				t.Errorf("the newest: %+v, %v", r, err)
			}
			break // ends the reading
		}
	})
}

// A payload that is larger than any segment is kept, too.
func TestLargeRejection(t *testing.T) {
	t.Parallel()
	l := newLedger(t, nil)
	payload := bytes.Repeat([]byte{'x'}, maxSegmentBytes+1)
	if got := must[[]byte](t)(l.packer.unpack(l.packer.pack(packedLines, payload))); !bytes.Equal(got, payload) {
		t.Errorf("%d bytes became %d", len(payload), len(got))
	}
}

func TestRejectionsWithoutRedis(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		reject(t, l, Rejection{ID: "a"})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Reject(ctx, Rejection{ID: "b"}); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "ledger: reject: ") {
			t.Errorf("reject: %v", err)
		}
		for r, err := range l.Rejections(ctx, true) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%+v, %v", r, err)
			}
		}
	})
}
