package ledger

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/redistest"
)

var errCut = errors.New("the connection was cut")

// lose lets n calls of a script run and then loses their replies.
func lose(name string, n int) func(context.Context, scriptCall, func() error) error {
	var mu sync.Mutex
	return func(_ context.Context, call scriptCall, run func() error) error {
		err := run()
		mu.Lock()
		defer mu.Unlock()
		if call.name == name && err == nil && n > 0 {
			n--
			return errCut
		}
		return err
	}
}

func TestRepeatedCheckpointCountsOnce(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l, h := newLedger(t, client), watch(client)
		s := claimed(t, l, sealed(t, l, Spec{}, 3))
		commit(t, s, to(Lost, 0, 1))
		h.during(lose("checkpoint.lua", 2))
		sent := h.count("checkpoint.lua")
		state, err := s.Commit(t.Context(), Tally{Calls: 1, Throttled: 1}, to(InFlight, 0), Update{Index: []int32{1}, Code: Rejected, Attempts: 2, Detail: "no"})
		if state != StateRunning || err != nil {
			t.Fatalf("%q, %v", state, err)
		}
		if n := h.count("checkpoint.lua") - sent; n != 3 {
			t.Errorf("%d calls, want 3", n)
		}
		job := read(t, l, "j")
		if job.Calls != 1 || job.Throttled != 1 || job.Resent != 1 || job.Failed != 1 {
			t.Errorf("counted twice: %+v", job)
		}
		counts(t, l, "j")

		h.during(lose("checkpoint.lua", 1))
		if state := commit(t, s, to(Sent, 0, 2)); state != StateFinished {
			t.Errorf("the last checkpoint, repeated, says %s", state)
		}
		counts(t, l, "j")
	})
}

// Where it is not known what Redis has, nothing is built on it: the segment
// records no more, and goes back for others to read the truth.
func TestCommitGivenUp(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l, h := newLedger(t, client), watch(client)
		job := sealed(t, l, Spec{}, 2)
		s := claimed(t, l, job)
		commit(t, s, to(InFlight, 0, 1))
		before := read(t, l, "j")
		ctx, cancel := context.WithCancel(t.Context())
		h.during(func(_ context.Context, call scriptCall, run func() error) error {
			if call.name == "checkpoint.lua" {
				cancel()
				return errCut // before it has reached Redis
			}
			return run()
		})
		if _, err := s.Commit(ctx, Tally{}, to(Sent, 0, 1)); !errors.Is(err, context.Canceled) && !errors.Is(err, errCut) {
			t.Errorf("given up: %v", err)
		}
		h.during(nil)
		if _, err := s.Commit(t.Context(), Tally{Calls: 1}); err == nil {
			t.Error("the segment still records")
		}
		if after := read(t, l, "j"); after.Pending != before.Pending || after.Calls != before.Calls {
			t.Errorf("recorded: %+v", after)
		}
		release(t, s)
		s = claimed(t, l, job)
		if n := s.PendingCount(); n != 2 {
			t.Errorf("%d targets are pending, want both", n)
		}
		commit(t, s, to(Sent, 0, 1))
		counts(t, l, "j")
	})
}

func TestCommitWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := redistest.StartReal(t, redistest.AOF())
	client := server.Client()
	l, h := newLedger(t, client), watch(client)
	job := sealed(t, l, Spec{}, 2, 1)
	s := claimed(t, l, job)
	commit(t, s, to(InFlight, 0, 1))

	failed := make(chan struct{})
	var once sync.Once
	h.during(func(_ context.Context, call scriptCall, run func() error) error {
		err := run()
		if err != nil && call.name == "checkpoint.lua" {
			once.Do(func() { close(failed) })
		}
		return err
	})
	server.Kill()
	done := make(chan error, 1)
	go func() {
		_, err := s.Commit(t.Context(), Tally{Calls: 1}, to(Sent, 0), to(Rejected, 1))
		done <- err
	}()
	<-failed
	select {
	case err := <-done:
		t.Fatalf("it gave up: %v", err)
	default:
	}
	server.Restart()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if job := read(t, l, "j"); job.Calls != 1 || job.Sent != 1 || job.Failed != 1 || job.Pending != 1 {
		t.Errorf("%+v", job)
	}
	counts(t, l, "j")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	server.Kill()
	if _, err := s.Commit(ctx, Tally{Calls: 1}); err == nil {
		t.Error("recorded without Redis")
	}
}
