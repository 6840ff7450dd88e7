package test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// again makes a new job for targets of an old one and returns its id.
func (w *world) again(args ...string) string {
	w.t.Helper()
	return strings.TrimSuffix(w.succeed(append([]string{"resend"}, args...)...), "\n")
}

// targetsOf lists the targets of a job.
func (w *world) targetsOf(id string) []string {
	w.t.Helper()
	var list []string
	for name := range w.rows(id) {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// Those who failed are sent to again once the cause is gone, and nobody else is.
func TestResend(t *testing.T) {
	t.Parallel()
	bad := []string{"user-0", "user-7xxxxxxx", "user-250xxxxxxx"}
	w := newWorld(t, func(c *chatsim.Config) { c.Poison, c.Refused = bad[:1], bad[1:] })
	p := w.worker()
	list := names(300)
	old := w.send("--targets", listFile(t, list...), "--text", "hello", "--name", "Sale", "--weight", "2", "--expires-at", "2999-01-01T00:00:00Z")
	if got := w.tally(old, 3); got.Failed != 3 || got.Sent != 297 {
		t.Fatalf("%+v", got)
	}
	still := w.enqueue("resend", old, "--wait") // the cause is still there
	if id := strings.TrimSuffix(still.out, "\n"); still.code != 3 || id == old || w.status(id).Failed != 3 {
		t.Errorf("exit %d, %q\n%s", still.code, still.out, still.err)
	}
	w.stop(p)

	mended, url := startSim(t)
	w = w.with("CHAT_URL=" + url)
	w.worker()
	got := w.enqueue("resend", old)
	id := strings.TrimSuffix(got.out, "\n")
	if got.code != 0 || !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\n$`).MatchString(got.out) || !strings.Contains(got.err, "3 targets accepted") {
		t.Errorf("exit %d, %q, %q", got.code, got.out, got.err)
	}
	if got := w.tally(id, 0); got.Sent != 3 {
		t.Errorf("%+v", got)
	}
	delivered := map[string]int{}
	for key, count := range mended.Journal() {
		delivered[key.Target] = count
	}
	if diff := cmp.Diff(once(bad...), delivered); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	doc, before := decode[object](t, w.succeed("status", id, "--json")), decode[object](t, w.succeed("status", old, "--json"))
	if doc["resend_of"] != old || doc["name"] != "Sale" || before["resend_of"] != nil || before["failed"] != 3.0 {
		t.Errorf("new %v\nold %v", doc, before)
	}
	if text := w.succeed("status", id); !strings.Contains(text, old) {
		t.Errorf("status does not name %s:\n%s", old, text)
	}
}

// Lost answers under hold: who may not have been reached is sent to again only
// on demand, and by outcome.
func TestResendUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) {
		c.Faults = []chatsim.Fault{{Kind: chatsim.FaultResetAfter, Percent: 100}}
		c.Poison = []string{"poison"} // refused, so that its call has an answer
	}).with("CHAT_MAX_USERS=1")
	w.worker()
	old := w.send("--target", "u1", "--target", "u2", "--target", "poison", "--text", "hello", "--on-unknown", "hold")
	if got := w.tally(old, 3); got.Unknown != 2 || got.Failed != 1 {
		t.Fatalf("%+v", got)
	}
	for outcome, want := range map[string][]string{
		"":                          {"poison", "u1", "u2"},
		"unknown":                   {"u1", "u2"},
		"failed":                    {"poison"},
		"failed,unknown, cancelled": {"poison", "u1", "u2"},
	} {
		args := []string{old}
		if outcome != "" {
			args = append(args, "--outcome", outcome)
		}
		id := w.again(args...)
		if diff := cmp.Diff(want, w.targetsOf(id)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", outcome, diff)
		}
		if got := w.tally(id, 3); got.Unknown+got.Failed != len(want) { // held again: on_unknown is the old job's
			t.Errorf("%q: %+v", outcome, got)
		}
	}
	if got := w.sim.Delivered(chatsim.Users, "u1"); got != 4 {
		t.Errorf("u1 was delivered to %d times, by the job and three of the others", got)
	}
}

// The same id is the same job, and --json is as with send.
func TestResendOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Refused = []string{"u1", "u2"} })
	w.worker()
	for id, target := range map[string]string{"one": "u1", "two": "u2"} { // small jobs: kept in one key each when they have ended
		w.send("--id", id, "--target", target, "--text", "hello")
		w.wait(id, 3)
	}
	for range 2 {
		if got := w.enqueue("resend", "one", "--id", "again"); got.code != 0 || got.out != "again\n" {
			t.Errorf("exit %d, %q, %q", got.code, got.out, got.err)
		}
	}
	if got := w.enqueue("resend", "two", "--id", "again"); got.code != 2 || got.out != "" || !strings.Contains(got.err, "other content") {
		t.Errorf("conflict: exit %d, %q, %q", got.code, got.out, got.err)
	}
	doc := decode[object](t, w.succeed("resend", "one", "--json"))
	if doc["resend_of"] != "one" || doc["total"] != 1.0 {
		t.Errorf("--json: %v", doc)
	}
	waited := w.enqueue("resend", "two", "--wait", "--json")
	if doc := decode[object](t, waited.out); waited.code != 3 || doc["state"] != "finished" || doc["failed"] != 1.0 || doc["resend_of"] != "two" {
		t.Errorf("--wait --json: exit %d, %v", waited.code, doc)
	}
	if list := decode[[]status](t, w.succeed("list", "--json")); len(list) != 5 {
		t.Errorf("%d jobs are listed", len(list))
	}
}

// What cannot be sent again is told, and stores nothing.
func TestResendRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Refused = []string{"u1"} })
	w.worker()
	w.send("--id", "bulk", "--target", "u1", "--text", "hello")
	w.send("--id", "code", "--target", "u1", "--text", "4711", "--priority", "urgent")
	w.send("--id", "fine", "--target", "u2", "--text", "hello", "--wait")
	w.wait("bulk", 3)
	w.wait("code", 3)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"nobody"}, 1, "no such job"},
		{[]string{"bulk", "--namespace", "other"}, 1, "no such job"},
		{[]string{"code"}, 1, "its text is gone"},
		{[]string{"fine"}, 1, "nobody to send to again"},
		{[]string{"bulk", "--outcome", "cancelled"}, 1, "no target is cancelled"},
		{[]string{"bulk", "--outcome", "sent"}, 2, "--outcome"},
		{[]string{"bulk", "--outcome", "failed,pending"}, 2, "--outcome"},
		{[]string{"bulk", "--outcome", "nonsense"}, 2, "--outcome"},
		{[]string{"bulk", "--outcome", ""}, 2, "--outcome"},
		{[]string{"bulk", "--id", "a b"}, 2, "id: "},
		{[]string{"bulk", "--id", ""}, 2, "--id"},
		{[]string{"bulk", "--id", "bulk"}, 2, "id: "},
		{nil, 2, "<job>"},
	} {
		got := w.enqueue(append([]string{"resend"}, tt.args...)...)
		if got.code != tt.code || got.out != "" || !strings.Contains(got.err, tt.want) {
			t.Errorf("resend %q: exit %d, %q, %q", tt.args, got.code, got.out, got.err)
		}
	}
	if list := decode[[]status](t, w.succeed("list", "--json")); len(list) != 3 {
		t.Errorf("%d jobs are listed", len(list))
	}
	if got := w.with("REDIS_URL=redis://127.0.0.1:1/0").enqueue("resend", "bulk"); got.code != 1 || got.out != "" {
		t.Errorf("without Redis: exit %d, %q", got.code, got.out)
	}
}

// Of a job that still runs, those who have failed by now are sent to again.
func TestResendRunning(t *testing.T) {
	t.Parallel()
	list := []string{"u1", "u2", "u3", "u4"}
	w := newWorld(t, quota(t, "users=2/1h@sliding"), func(c *chatsim.Config) { c.Refused = list }).with("CHAT_MAX_USERS=1")
	w.send("--id", "old", "--targets", listFile(t, list...), "--text", "hello")
	w.worker()
	eventually(t, "two calls go", func() bool { return w.status("old").Pending == 2 })
	var failed []string
	for name := range w.rows("old", "--outcome", "failed") {
		failed = append(failed, name)
	}
	slices.Sort(failed)
	if diff := cmp.Diff(failed, w.targetsOf(w.again("old"))); diff != "" || len(failed) != 2 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := w.status("old"); s.State != "running" || s.Failed != 2 || s.Pending != 2 {
		t.Errorf("%+v", s)
	}
}
