package test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// The API takes less than the worker was told: the fleet learns it at the cost
// of some refused calls, and for all of its jobs.
func TestLimitsAreLearned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lower func(*chatsim.Config)
		limit func(chatsim.Stats) error
	}{
		{"targets", func(c *chatsim.Config) { c.MaxUsers = 100 }, func(s chatsim.Stats) error {
			if s.Refused["400 message_send_error"] != 0 || s.MostTargets > 100 {
				return fmt.Errorf("up to %d targets, refused: %v", s.MostTargets, s.Refused)
			}
			return nil
		}},
		{"bytes", func(c *chatsim.Config) { c.MaxBody = 3000 }, func(s chatsim.Stats) error {
			if s.Calls-s.AcceptedCalls > 8 || s.LargestBody < 2900 { // the last trials, of two workers
				return fmt.Errorf("bodies of up to %d bytes, refused: %v", s.LargestBody, s.Refused)
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.lower)
			w.worker()
			list := names(60_000)
			first := w.wait(w.send("--targets", listFile(t, list...), "--text", "hello"), 0)
			if diff := cmp.Diff(once(list...), w.journal(chatsim.Users)); diff != "" {
				t.Errorf("journal (-want +got):\n%.2000s", diff)
			}
			w.sim.Reset()
			w.worker() // has learned it from the other
			second := w.wait(w.send("--targets", listFile(t, list...), "--text", "hello again"), 0)
			if err := tt.limit(w.sim.Stats()); err != nil {
				t.Error(err)
			}
			if first.Sent != len(list) || second.Sent != len(list) || first.Resent+second.Resent > 0 {
				t.Errorf("first %+v, second %+v", first, second)
			}
			if first.Calls > second.Calls*3/2 {
				t.Errorf("%d calls to learn what then took %d", first.Calls, second.Calls)
			}
		})
	}
}

// A job that was taken in under other limits is cut anew.
func TestLimitsChangeBetweenSubmitAndSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.MaxUsers, c.MaxBody = 50, 2048 })
	list := names(25_000)
	job := w.send("--targets", listFile(t, list...), "--text", "hello") // within the defaults
	w.with("CHAT_MAX_USERS=50", "CHAT_MAX_BODY=2048").worker()
	w.wait(job, 0)
	stats := w.sim.Stats()
	if len(stats.Refused) > 0 || stats.MostTargets != 50 {
		t.Errorf("up to %d targets, refused: %v", stats.MostTargets, stats.Refused)
	}
	if diff := cmp.Diff(once(list...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("journal (-want +got):\n%.2000s", diff)
	}
}
