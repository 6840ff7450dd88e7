package test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// gone holds that nothing is known of a job any more.
func (w *world) gone(id string) {
	w.t.Helper()
	if keys := w.keysOf(id); len(keys) > 0 {
		w.t.Errorf("left behind: %q", keys)
	}
	for _, args := range [][]string{{"status", id}, {"results", id}, {"delete", id}} {
		if got := w.enqueue(args...); got.code != 1 || got.out != "" || !strings.Contains(got.err, "no such job") {
			w.t.Errorf("%q: exit %d, %q, %q", args, got.code, got.out, got.err)
		}
	}
	if list := w.succeed("list", "--json"); strings.Contains(list, id) {
		w.t.Errorf("still listed: %s", list)
	}
}

// Of a deleted job nothing is left, at once, and its id can be used again.
func TestDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	w.send("--id", "my-job", "--target", "u1", "--text", "hello", "--wait")
	if got := w.enqueue("delete", "my-job"); got.code != 0 || got.out != "" || !strings.Contains(got.err, "my-job") {
		t.Errorf("exit %d, %q, %q", got.code, got.out, got.err)
	}
	w.gone("my-job")
	w.send("--id", "my-job", "--targets", listFile(t, "u2", "u3"), "--text", "other", "--wait")
	if s := w.status("my-job"); s.Total != 2 || s.Sent != 2 || s.Calls != 1 {
		t.Errorf("the second job of that id: %+v", s)
	}
	if diff := cmp.Diff(once("u1", "u2", "u3"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

// A job that was to begin later is never sent.
func TestDeleteScheduled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("--id", "later", "--target", "u1", "--text", "hello", "--send-at", "2999-01-01T00:00:00Z")
	w.succeed("delete", "later")
	w.gone("later")
	if got := w.stored(); got != 0 {
		t.Errorf("%d keys are left in an empty Redis", got)
	}
}

// What can still be sent stays, whether a worker is there or not.
func TestDeleteRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quota(t, "users=1/1h@sliding")).with("CHAT_MAX_USERS=1")
	refused := func(id string) {
		t.Helper()
		got := w.enqueue("delete", id)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, "cancel it first") || !strings.Contains(got.err, id) {
			t.Errorf("%s: exit %d, %q, %q", id, got.code, got.out, got.err)
		}
	}
	w.send("--id", "waits", "--target", "u1", "--target", "u2", "--text", "hello")
	refused("waits")
	w.worker()
	eventually(t, "one call goes", func() bool { return w.status("waits").Sent == 1 })
	refused("waits")
	if s := w.status("waits"); s.Total != 2 || s.Pending != 1 {
		t.Errorf("%+v", s)
	}
	if got := w.enqueue("delete", "nobody"); got.code != 1 || got.out != "" || !strings.Contains(got.err, "no such job") {
		t.Errorf("no such job: exit %d, %q, %q", got.code, got.out, got.err)
	}
	if got := w.enqueue("delete", "waits", "--namespace", "other"); got.code != 1 || !strings.Contains(got.err, "no such job") {
		t.Errorf("in another namespace: exit %d, %q", got.code, got.err)
	}
	if got := w.enqueue("delete"); got.code != 2 {
		t.Errorf("no id: exit %d", got.code)
	}
	if got := w.with("REDIS_URL=redis://127.0.0.1:1/0").enqueue("delete", "waits"); got.code != 1 || got.out != "" {
		t.Errorf("without Redis: exit %d, %q", got.code, got.out)
	}
}

// Slot tokens of a deleted job end as spare ones: nobody is sent to, nothing is
// complained of, and a new job of that id is sent once.
func TestDeleteLeavesSpareTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"gone", "again"} {
		w.send("--id", id, "--target", "u1", "--text", "old")
		// Cancelled while no worker was there: its token waits on the queue.
		w.succeed("cancel", id)
		w.succeed("delete", id)
	}
	w.send("--id", "again", "--target", "u2", "--text", "new")
	p := w.worker()
	w.wait("again", 0)
	eventually(t, "all tokens have been taken", func() bool {
		redis := w.redis.Client()
		return redis.LLen(t.Context(), "asynq:{crier-bulk}:pending").Val()+redis.LLen(t.Context(), "asynq:{crier-bulk}:active").Val() == 0
	})
	if diff := cmp.Diff(once("u2"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	w.gone("gone")
	if log := p.err.String(); strings.Contains(log, `"level":"ERROR"`) || strings.Contains(log, `"level":"WARN"`) {
		t.Errorf("the worker complains:\n%s", p.err.tail())
	}
}
