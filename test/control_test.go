package test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// orders runs a command that pauses, resumes or cancels one job. It must succeed,
// print nothing on standard output, and one line that says these words.
func (w *world) orders(command, id string, words ...string) {
	w.t.Helper()
	got := w.enqueue(command, id)
	if got.code != 0 || got.out != "" || strings.Count(got.err, "\n") != 1 {
		w.t.Errorf("%s %s: exit %d, %q, %q", command, id, got.code, got.out, got.err)
	}
	for _, word := range append(words, id) {
		if !strings.Contains(got.err, word) {
			w.t.Errorf("%s %s does not say %q: %q", command, id, word, got.err)
		}
	}
}

// checkOnce holds each target's outcome against the journal of a job that sends
// nothing twice: sent means once, everything else but unknown means never.
func (w *world) checkOnce(id string) {
	w.t.Helper()
	count := map[string]int{}
	for name, r := range w.rows(id) {
		count[r.Outcome]++
		n := w.sim.Delivered(chatsim.Users, name)
		if n > 1 || r.Outcome != "unknown" && (n == 1) != (r.Outcome == "sent") {
			w.t.Fatalf("%+v, delivered %d times", r, n)
		}
	}
	s := w.status(id)
	want := map[string]int{"sent": s.Sent, "failed": s.Failed, "unknown": s.Unknown, "cancelled": s.Cancelled, "pending": s.Pending}
	for outcome, n := range want {
		if count[outcome] != n {
			w.t.Errorf("%d rows are %s, the status says %d", count[outcome], outcome, n)
		}
	}
	if s.Total != s.Pending+s.Sent+s.Failed+s.Unknown+s.Cancelled {
		w.t.Errorf("the counts do not add up: %+v", s)
	}
}

// A campaign is paused, resumed, and cancelled in the end, beside two workers:
// nobody is sent to twice, nobody is lost, and what is counted was delivered.
func TestPauseResumeCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Latency = 200 * time.Millisecond }).with("CHAT_MAX_USERS=60", "CONCURRENCY=4")
	workers := []*process{w.worker(), w.worker()}
	id := w.send("--id", "campaign", "--targets", listFile(t, names(20_000)...), "--text", "hello")
	eventually(t, "it is under way", func() bool { return w.status(id).Sent > 1000 })

	w.orders("pause", id, "paused", "20000 targets", "in flight")
	w.orders("pause", id, "already")
	eventually(t, "calls in flight are recorded", func() bool {
		return w.sim.Stats().InFlight == 0 && w.status(id).Sent == int(w.sim.Stats().AcceptedTargets)
	})
	paused := w.status(id)
	if paused.State != "paused" || paused.Sent == 0 || paused.Sent+paused.Pending != 20_000 {
		t.Errorf("%+v", paused)
	}
	// Others go on meanwhile, and nothing happens to the paused one.
	w.send("--id", "other", "--target", "somebody", "--text", "hello", "--wait")
	eventually(t, "nobody holds anything of it", func() bool {
		return w.redis.Client().HLen(t.Context(), "crier:{"+id+"}:held").Val() == 0
	})
	if diff := cmp.Diff(paused, w.status(id)); diff != "" {
		t.Errorf("while it was paused: %s", diff)
	}
	eventually(t, "a worker says so", func() bool {
		return slices.ContainsFunc(workers, func(p *process) bool { return strings.Contains(p.err.String(), "no more calls for a job") })
	})

	w.orders("resume", id, "running")
	eventually(t, "it goes on", func() bool { return w.status(id).Sent > paused.Sent+1000 })
	w.orders("resume", id, "already", "running")

	w.orders("cancel", id, "cancelled", "20000 targets")
	eventually(t, "it has ended", func() bool { return w.status(id).Pending == 0 })
	s := w.wait(id, 3)
	if s.State != "cancelled" || s.Cancelled == 0 || s.Unknown+s.Failed != 0 || s.Reasons["cancelled"] != s.Cancelled || s.Resent != 0 {
		t.Errorf("%+v", s)
	}
	w.checkOnce(id)
	w.orders("cancel", id, "already")
	for _, command := range []string{"pause", "resume"} {
		if got := w.enqueue(command, id); got.code != 1 || got.out != "" || !strings.Contains(got.err, "cancelled") {
			t.Errorf("%s a cancelled job: %+v", command, got)
		}
	}
	for _, p := range workers {
		w.stop(p)
	}
	if n := int(w.sim.Stats().AcceptedTargets); n != s.Sent+1 {
		t.Errorf("%d targets were accepted, %d are sent", n, s.Sent)
	}
	w.succeed("delete", id)
	w.gone(id)
}

// A slot that waits at the gate lets go of a job that is paused or cancelled.
func TestPauseAtTheGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quota(t, "users=1/1h@sliding")).with("CHAT_MAX_USERS=10", "CHAT_QUOTA=users=1/1h")
	w.worker()
	held := func(id string) int64 { return w.redis.Client().HLen(t.Context(), "crier:{"+id+"}:held").Val() }
	for i, command := range []string{"pause", "cancel"} {
		id := "to-" + command
		w.send("--id", id, "--targets", listFile(t, names(200)[100*i:100*i+100]...), "--text", "hello")
		eventually(t, "a worker holds a part of it", func() bool { return held(id) > 0 && w.sim.Stats().AcceptedCalls == 1 })
		w.enqueue(command, id)
		eventually(t, command+" reaches it", func() bool { return held(id) == 0 })
	}
	if s := w.wait("to-cancel", 3); s.State != "cancelled" || s.Sent+s.Cancelled != 100 {
		t.Errorf("%+v", s)
	}
	w.checkOnce("to-cancel")
}

// No worker is needed to cancel: the command itself ends every target.
func TestCancelWithoutWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := names(30_000)
	w.send("--id", "j", "--targets", listFile(t, list...), "--text", "hello", "--priority", "urgent")
	got := w.enqueue("cancel", "j", "--json")
	s := decode[status](t, got.out)
	if got.code != 0 || s.State != "cancelled" || s.Cancelled != 30_000 || s.Pending != 0 || s.StartedAt != nil {
		t.Errorf("exit %d, %+v", got.code, s)
	}
	rows := w.rows("j")
	for _, name := range list {
		r := rows[name]
		if _, err := time.Parse(time.RFC3339Nano, r.At); err != nil || r.Outcome != "cancelled" || r.Reason != "cancelled" || r.Attempts != 0 {
			t.Fatalf("%s: %+v", name, r)
		}
	}
	if keys := w.keysOf("{j}:doc"); len(keys) != 0 {
		t.Errorf("the text of an urgent job is left: %q", keys)
	}
	// Its slot tokens are spare ones.
	w.worker()
	w.send("--target", "u1", "--text", "hello", "--priority", "urgent", "--wait")
	if n := w.sim.Stats().AcceptedTargets; n != 1 {
		t.Errorf("%d targets were sent to", n)
	}
}

// What a worker that was killed had in flight is unknown, and the command itself
// takes its segments, though no worker is left.
func TestCancelAfterKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Latency = 400 * time.Millisecond }).with("CHAT_MAX_USERS=10", "CONCURRENCY=4")
	p := w.worker()
	w.send("--id", "j", "--targets", listFile(t, names(400)...), "--text", "hello")
	eventually(t, "some calls are answered and others in flight", func() bool { return w.status("j").Sent > 0 && w.sim.Stats().InFlight > 1 })
	p.signal(t, syscall.SIGKILL)
	p.result(t)
	w.orders("cancel", "j", "cancelled")
	s := w.wait("j", 3)
	if s.Unknown == 0 || s.Reasons["answer_lost"] != s.Unknown || s.Cancelled == 0 || s.Resent != 0 {
		t.Errorf("%+v", s)
	}
	w.checkOnce("j")
	for name, r := range w.rows("j", "--outcome", "unknown") {
		if r.Attempts != 1 || r.Detail == "" {
			t.Fatalf("%s: %+v", name, r)
		}
	}
}

// A cancel that is cut off is finished by a worker, or by the command again.
func TestCancelIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"by-command", "by-worker"} {
		w.send("--id", id, "--targets", listFile(t, names(100)...), "--text", "hello")
		// All that was done before it was cut off:
		if err := w.redis.Client().HSet(t.Context(), "crier:{"+id+"}:job", "state", "cancelled").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.enqueue("delete", "by-command"); got.code != 1 || !strings.Contains(got.err, "cancel it again") {
		t.Errorf("delete: %+v", got)
	}
	w.orders("cancel", "by-command", "100 cancelled")
	p := w.worker()
	w.wait("by-worker", 3)
	if s := w.status("by-worker"); s.Cancelled != 100 || w.sim.Stats().Calls != 0 {
		t.Errorf("%+v", s)
	}
	eventually(t, "the worker counts those of both, once", func() bool {
		return sum(scrape(t, p.admin(t))["crier_targets_total"], "outcome=cancelled") == 200
	})
}

// --all means every job for which there is something to do; ids go to standard output.
func TestOrdersToAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.worker()
	w.send("--id", "finished", "--target", "u1", "--text", "hello", "--wait")
	w.stop(p)
	w.send("--id", "running", "--target", "u2", "--text", "hello")
	w.send("--id", "scheduled", "--target", "u3", "--text", "hello", "--send-at", "2999-01-01T00:00:00Z")
	w.send("--id", "paused", "--target", "u4", "--text", "hello")
	w.succeed("pause", "paused")
	states := func() map[string]string {
		all := map[string]string{}
		for _, s := range decode[[]status](t, w.succeed("list", "--json")) {
			all[s.ID] = s.State
		}
		return all
	}
	ids := func(args ...string) string {
		list := strings.Fields(w.succeed(args...))
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	for _, step := range []struct {
		command string
		ids     string
		want    map[string]string
	}{
		{"pause", "running scheduled", map[string]string{"finished": "finished", "running": "paused", "scheduled": "paused", "paused": "paused"}},
		{"pause", "", map[string]string{"finished": "finished", "running": "paused", "scheduled": "paused", "paused": "paused"}},
		{"resume", "paused running scheduled", map[string]string{"finished": "finished", "running": "running", "scheduled": "scheduled", "paused": "running"}},
		{"cancel", "paused running scheduled", map[string]string{"finished": "finished", "running": "cancelled", "scheduled": "cancelled", "paused": "cancelled"}},
		{"cancel", "", map[string]string{"finished": "finished", "running": "cancelled", "scheduled": "cancelled", "paused": "cancelled"}},
	} {
		if diff := cmp.Diff(step.ids, ids(step.command, "--all")); diff != "" {
			t.Errorf("%s --all prints (-want +got):\n%s", step.command, diff)
		}
		if diff := cmp.Diff(step.want, states()); diff != "" {
			t.Errorf("%s --all (-want +got):\n%s", step.command, diff)
		}
	}
	if list := decode[[]status](t, w.succeed("cancel", "--all", "--json")); len(list) != 0 {
		t.Errorf("%+v", list)
	}

	for _, command := range []string{"pause", "resume", "cancel"} {
		for _, args := range [][]string{{}, {"running", "--all"}} {
			if got := w.enqueue(append([]string{command}, args...)...); got.code != 2 || got.out != "" || !strings.Contains(got.err, "--all") {
				t.Errorf("%s %q: %+v", command, args, got)
			}
		}
		if got := w.enqueue(command, "finished"); got.code != 1 || got.out != "" || !strings.Contains(got.err, "is finished") {
			t.Errorf("%s a finished job: %+v", command, got)
		}
		if got := w.enqueue(command, "nobody"); got.code != 1 || got.out != "" || !strings.Contains(got.err, "no such job") {
			t.Errorf("%s no job: %+v", command, got)
		}
		if got := w.with("REDIS_URL=redis://127.0.0.1:1/0").enqueue(command, "--all"); got.code != 1 || got.out != "" {
			t.Errorf("%s without Redis: %+v", command, got)
		}
	}
	// After one that fails it goes on.
	w.send("--id", "last", "--target", "u5", "--text", "hello")
	if got := w.enqueue("cancel", "nobody", "finished", "last"); got.code != 1 || got.out != "last\n" || w.status("last").State != "cancelled" {
		t.Errorf("%+v", got)
	}
}

// A scheduled job that is paused does not start at its time, but when it is
// resumed, or at its time if that still lies ahead.
func TestPausedScheduledJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	due := time.Now().Add(time.Second)
	soon := w.send("--id", "soon", "--target", "u1", "--text", "hello", "--send-at", due.Format(time.RFC3339Nano))
	later := w.send("--id", "later", "--target", "u2", "--text", "hello", "--send-at", "2999-01-01T00:00:00Z")
	w.orders("pause", soon, "paused")
	w.orders("pause", later, "paused")
	w.orders("resume", later, "scheduled")
	witness := w.send("--target", "u3", "--text", "hello", "--send-at", due.Add(500*time.Millisecond).Format(time.RFC3339Nano))
	w.wait(witness, 0) // due after it, and sent
	if s := w.status(soon); s.State != "paused" || s.Pending != 1 || s.StartedAt != nil {
		t.Errorf("paused before its time: %+v", s)
	}
	w.orders("resume", soon, "running")
	w.wait(soon, 0)
	if s := w.status(later); s.State != "scheduled" || s.Pending != 1 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(once("u1", "u3"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

// expires_at ends jobs on which nobody works: paused ones, and those that the gate
// holds back.
func TestExpiresWithNobodyAtWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quota(t, "chatgroups=1/1h@sliding")).with("CHAT_QUOTA=chatgroups=1/1h")
	p := w.worker()
	w.send("--target-type", "chatgroups", "--target", "g1", "--text", "uses up the quota", "--wait")
	end := time.Now().Add(1500 * time.Millisecond)
	expires := []string{"--text", "hello", "--expires-at", end.Format(time.RFC3339Nano)}
	w.send(append(expires, "--id", "held-back", "--target-type", "chatgroups", "--target", "g2")...)
	w.send(append(expires, "--id", "running-paused", "--targets", listFile(t, names(50)...), "--send-at", end.Add(-200*time.Millisecond).Format(time.RFC3339Nano))...)
	w.send(append(expires, "--id", "scheduled-paused", "--target", "u1", "--send-at", end.Add(-time.Millisecond).Format(time.RFC3339Nano))...)
	w.succeed("pause", "running-paused", "scheduled-paused")
	for id, n := range map[string]int{"held-back": 1, "running-paused": 50, "scheduled-paused": 1} {
		s := w.wait(id, 3)
		if s.State != "finished" || s.Cancelled != n || s.Reasons["expired"] != n {
			t.Errorf("%s: %+v", id, s)
		}
		if s.FinishedAt == nil || s.FinishedAt.Before(end.Truncate(time.Millisecond)) || s.FinishedAt.After(end.Add(5*time.Second)) {
			t.Errorf("%s ended at %v, its time was %v", id, s.FinishedAt, end)
		}
		for name, r := range w.rows(id) {
			if r.Outcome != "cancelled" || r.Reason != "expired" || r.Detail == "" || r.At == "" {
				t.Fatalf("%s of %s: %+v", name, id, r)
			}
		}
		if got := w.enqueue("resume", id); got.code != 1 || !strings.Contains(got.err, "is finished") {
			t.Errorf("resume %s: %+v", id, got)
		}
	}
	eventually(t, "the worker counts them", func() bool { return sum(scrape(t, p.admin(t))["crier_targets_total"], "outcome=cancelled") == 52 })
	if n := len(w.journal(chatsim.Users)); n != 0 {
		t.Errorf("%d were sent to", n)
	}
	for id := range map[string]bool{"held-back": true, "running-paused": true} {
		eventually(t, "it is told", func() bool { return strings.Contains(p.err.String(), fmt.Sprintf(`"msg":"job ended","job":%q`, id)) })
	}
}
