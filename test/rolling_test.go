package test

import (
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// A rolling restart: the new worker is ready before the old one is told to end.
// The old one ends within SHUTDOWN_TIMEOUT, with all its calls recorded, while the
// new one goes on; nobody is lost or sent to twice, and codes do not wait.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const timeout = 20 * time.Second
	w := newWorld(t, func(c *chatsim.Config) { c.Latency, c.MaxUsers = 500*time.Millisecond, 10 })
	w = w.with("CHAT_MAX_USERS=10", "CONCURRENCY=4", "SHUTDOWN_TIMEOUT="+timeout.String())
	list := names(400) // 40 calls, 4 at a time by one worker
	old := w.worker()
	id := w.send("--targets", listFile(t, list...), "--text", "hello")
	eventually(t, "the old worker has calls in flight", func() bool { return w.sim.Stats().InFlight > 1 })
	w.worker()
	began := time.Now()
	old.signal(t, syscall.SIGTERM)
	w.send("--target", "code", "--text", "123456", "--priority", "urgent", "--wait")
	if got := old.result(t); got.code != 0 {
		t.Errorf("exit %d", got.code)
	}
	if took := time.Since(began); took >= timeout {
		t.Errorf("it took %v to end", took)
	}
	if s := w.wait(id, 0); s.Sent != len(list) || s.Resent != 0 || s.Calls != 40 {
		t.Errorf("%+v", s)
	}
	if s := w.sim.Stats(); s.Unanswered != 0 || s.Calls != 41 {
		t.Errorf("%d calls, of which %d were cut off", s.Calls, s.Unanswered)
	}
	if diff := cmp.Diff(once(append(list, "code")...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}
