package test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// A job begins when it is due: not before, and soon after.
func TestSendAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	due := time.Now().Add(2 * time.Second)
	id := w.send("--target", "u1", "--text", "hello", "--send-at", due.Format(time.RFC3339Nano))
	if s := w.status(id); s.State != "scheduled" || s.Pending != 1 || s.StartedAt != nil {
		t.Errorf("before its time: %+v", s)
	}
	w.wait(id, 0)
	// This machine's clock is also Redis's and the API's.
	if late := w.sim.Stats().FirstAccepted.Sub(due); late < 0 || late > 2*time.Second {
		t.Errorf("it was sent %v after it was due", late)
	}
}

// A time that is past is at once.
func TestSendAtInThePast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	w.send("--target", "u1", "--text", "hello", "--send-at", "2020-01-01T00:00:00+02:00", "--wait")
}

// What has not been sent when a job expires is cancelled, and only that.
func TestExpiresWhileThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quota(t, "users=1/1h@sliding"))
	w = w.with("CHAT_MAX_USERS=10")
	w.worker()
	list := names(100)
	end := time.Now().Add(3 * time.Second)
	sent := w.enqueue("send", "--id", "j", "--targets", listFile(t, list...), "--text", "hello", "--expires-at", end.Format(time.RFC3339Nano), "--wait")
	if sent.code != 3 || sent.out != "j\n" {
		t.Errorf("exit %d, %q", sent.code, sent.out)
	}
	if time.Now().Before(end) {
		t.Error("it has ended before its time")
	}
	s := w.wait("j", 3)
	if s.State != "finished" || s.Sent != 10 || s.Cancelled != 90 || s.Throttled == 0 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(map[string]int{"expired": 90}, s.Reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	for name, r := range w.rows("j") {
		sent := w.sim.Delivered(chatsim.Users, name) == 1
		if sent != (r.Outcome == "sent") || !sent && (r.Outcome != "cancelled" || r.Reason != "expired") {
			t.Errorf("%+v, delivered: %v", r, sent)
		}
	}
}

// A job can expire before it was due to any worker.
func TestExpiresBeforeItStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("--id", "j", "--target", "u1", "--text", "hello", "--expires-at", time.Now().Add(time.Second).Format(time.RFC3339Nano))
	eventually(t, "its time has passed", func() bool { return time.Since(w.status("j").CreatedAt) > time.Second })
	w.worker()
	if s := w.wait("j", 3); s.State != "finished" || s.Cancelled != 1 || s.Reasons["expired"] != 1 {
		t.Errorf("%+v", s)
	}
	if n := w.sim.Stats().Calls; n != 0 {
		t.Errorf("%d calls", n)
	}
}
