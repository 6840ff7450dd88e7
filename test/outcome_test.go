package test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// tally is how a job has ended.
type tally struct {
	Sent, Failed, Unknown, Cancelled int
	Reasons                          map[string]int
}

func (w *world) tally(id string, code int) tally {
	w.t.Helper()
	s := w.wait(id, code)
	return tally{s.Sent, s.Failed, s.Unknown, s.Cancelled, s.Reasons}
}

// checkTold holds each target's outcome against the journal: sent means once or
// more, failed means never, and nobody is sent to again unless it is told.
func (w *world) checkTold(id string) {
	w.t.Helper()
	extra := 0
	for name, r := range w.rows(id) {
		n := w.sim.Delivered(chatsim.Users, name)
		extra += max(0, n-1)
		if r.Outcome == "sent" && n == 0 || r.Outcome == "failed" && n > 0 {
			w.t.Fatalf("%+v, delivered %d times", r, n)
		}
	}
	if s := w.status(id); extra > s.Resent {
		w.t.Errorf("%d deliveries too many, but only %d are told as sent again", extra, s.Resent)
	}
}

// What becomes of the targets of calls that the API refuses or leaves unanswered.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	fault := func(kind chatsim.FaultKind) func(*chatsim.Config) {
		return func(c *chatsim.Config) { c.Faults = []chatsim.Fault{{Kind: kind, Percent: 100}} }
	}
	for name, tt := range map[string]struct {
		change func(*chatsim.Config)
		vars   []string
		args   []string
		want   tally
	}{
		"one bad target among many": {
			func(c *chatsim.Config) { c.Poison = []string{"user-0"} }, nil, nil,
			tally{Sent: 299, Failed: 1, Reasons: map[string]int{"rejected": 1}},
		},
		"body limit lower than configured": {
			func(c *chatsim.Config) { c.MaxBody = 1500 }, nil, nil, tally{Sent: 300, Reasons: map[string]int{}},
		},
		"target limit lower than configured": {
			func(c *chatsim.Config) { c.MaxUsers = 70 }, nil, nil, tally{Sent: 300, Reasons: map[string]int{}},
		},
		"not allowed": {
			fault(chatsim.FaultForbidden), nil, nil, tally{Failed: 300, Reasons: map[string]int{"not_allowed": 300}},
		},
		"never available": {
			fault(chatsim.FaultUnavailable), []string{"MAX_ATTEMPTS=2"}, nil, tally{Failed: 300, Reasons: map[string]int{"gave_up": 300}},
		},
		"every answer lost": {
			fault(chatsim.FaultResetAfter), []string{"MAX_ATTEMPTS=2"}, nil, tally{Unknown: 300, Reasons: map[string]int{"answer_lost": 300}},
		},
		"every answer lost, hold": {
			fault(chatsim.FaultResetAfter), nil,
			[]string{"--on-unknown", "hold"},
			tally{Unknown: 300, Reasons: map[string]int{"answer_lost": 300}},
		},
		"slow answers, hold": {
			fault(chatsim.FaultHangAfter),
			[]string{"CHAT_TIMEOUT=300ms"},
			[]string{"--on-unknown", "hold"},
			tally{Unknown: 300, Reasons: map[string]int{"answer_lost": 300}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.change).with(tt.vars...)
			w.worker()
			id := w.send(append([]string{"--targets", listFile(t, names(300)...), "--text", "hello"}, tt.args...)...)
			code := 3
			if tt.want.Sent == 300 {
				code = 0
			}
			if diff := cmp.Diff(tt.want, w.tally(id, code)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			w.checkTold(id)
		})
	}
}

// Some answers lost: everybody is reached, and who may have been reached twice is told.
func TestLostAnswersAreResent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) {
		c.Faults = []chatsim.Fault{{Kind: chatsim.FaultTruncated, Percent: 20}, {Kind: chatsim.FaultHTMLAfter, Percent: 20}}
	}).with("CHAT_MAX_USERS=30")
	w.worker()
	id := w.send("--targets", listFile(t, names(300)...), "--text", "hello")
	if got := w.tally(id, 0); got.Sent != 300 {
		t.Errorf("%+v", got)
	}
	w.checkTold(id)
	if s := w.status(id); s.Resent == 0 {
		t.Error("no target was sent again: this test has tested nothing")
	}
}

// Work that cannot go on waits, says why, and goes on by itself.
func TestBlocked(t *testing.T) {
	t.Parallel()
	secrets := chatsim.Secrets{Token: chatsim.DefaultConfig().Token}
	for name, tt := range map[string]struct {
		change func(*chatsim.Config)
		mend   func(*chatsim.Server) // nil = it stays as it is
	}{
		"unauthorized": {
			func(c *chatsim.Config) { c.Token = "another" },
			func(s *chatsim.Server) { s.SetSecrets(secrets, false) },
		},
		"unknown_app": {func(c *chatsim.Config) { c.App = "another" }, nil},
		"plan":        {func(c *chatsim.Config) { c.PlanCalls = 1 }, nil},
		"quota":       {quota(t, "users=1/1h@sliding"), nil},
		"rejected": {
			func(c *chatsim.Config) { c.Faults = []chatsim.Fault{{Kind: chatsim.FaultReject, Percent: 100}} },
			func(s *chatsim.Server) { _ = s.SetFaults(nil) }, // none is valid
		},
		"rejected, all too large": {
			func(c *chatsim.Config) { c.MaxBody = 1 },
			nil,
		},
		"outage": {
			func(c *chatsim.Config) { c.Faults = []chatsim.Fault{{Kind: chatsim.FaultUnavailable, Percent: 100}} },
			func(s *chatsim.Server) { _ = s.SetFaults(nil) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reason, _, _ := strings.Cut(name, ",")
			w := newWorld(t, tt.change).with("CHAT_MAX_USERS=10", "MAX_ATTEMPTS=5") // what blocks does not count
			w.worker()
			const all = 500
			id := w.send("--targets", listFile(t, names(all)...), "--text", "hello")
			eventually(t, "the status says why it stands still", func() bool {
				doc := decode[object](t, w.succeed("status", id, "--json"))
				return doc["blocked"] == reason && doc["blocked_since"] != nil && doc["state"] == "running"
			})
			if s := w.status(id); s.Failed+s.Unknown+s.Cancelled > 0 || s.Sent != int(w.sim.Stats().AcceptedTargets) {
				t.Errorf("%+v", s)
			}
			if n := w.sim.Stats().Calls; n > 200 {
				t.Errorf("%d calls for nothing", n)
			}
			if tt.mend != nil {
				tt.mend(w.sim)
				if got := w.tally(id, 0); got.Sent != all {
					t.Errorf("%+v", got)
				}
				w.checkTold(id)
			}
		})
	}
}

// Where most targets are bad, the good ones are found, though the API refuses
// batch after batch.
func TestMostTargetsAreBad(t *testing.T) {
	t.Parallel()
	all := names(60)
	w := newWorld(t, func(c *chatsim.Config) { c.Poison = all[:40] }).with("CHAT_MAX_USERS=5", "CONCURRENCY=4")
	w.worker()
	id := w.send("--targets", listFile(t, all...), "--text", "hello")
	eventually(t, "all good targets are sent to", func() bool { return w.status(id).Sent == 20 })
	for name, r := range w.rows(id, "--outcome", "failed") {
		if n := w.sim.Delivered(chatsim.Users, name); n != 0 || r.Reason != "rejected" {
			t.Errorf("%+v, delivered %d times", r, n)
		}
	}
}

// A bad target in nearly every batch is nothing that the good ones wait long for.
func TestBadTargetsEverywhere(t *testing.T) {
	t.Parallel()
	all := names(10_000)
	bad := map[string]bool{}
	w := newWorld(t, func(c *chatsim.Config) {
		for i := 50; i < len(all); i += 100 {
			c.Poison = append(c.Poison, all[i])
			bad[all[i]] = true
		}
	})
	w.worker()
	id := w.send("--targets", listFile(t, all...), "--text", "hello")
	if got := w.tally(id, 3); got.Sent != len(all)-len(bad) || got.Failed != len(bad) {
		t.Errorf("%+v", got)
	}
	for name, r := range w.rows(id, "--outcome", "failed") {
		if !bad[name] {
			t.Errorf("%+v", r)
		}
	}
	w.checkTold(id)
}

// A list of nothing but bad targets holds nobody else up for long.
func TestBadListBesideAGoodOne(t *testing.T) {
	t.Parallel()
	bad := names(340)[300:]
	w := newWorld(t, func(c *chatsim.Config) { c.Poison = bad })
	w.worker()
	w.send("--id", "bad", "--targets", listFile(t, bad...), "--text", "hello")
	eventually(t, "its batches are refused", func() bool {
		return decode[object](t, w.succeed("status", "bad", "--json"))["blocked"] == "rejected"
	})
	w.send("--id", "good", "--targets", listFile(t, names(300)...), "--text", "hello")
	if got := w.tally("good", 0); got.Sent != 300 {
		t.Errorf("%+v", got)
	}
	if got := w.tally("bad", 3); got.Failed != len(bad) || got.Reasons["rejected"] != len(bad) { // now that others have passed
		t.Errorf("%+v", got)
	}
	w.checkTold("bad")
}

// An outage of the API is waited for, and burns nobody's attempts.
func TestOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	w.sim.StopListening()
	id := w.send("--targets", listFile(t, names(300)...), "--text", "hello")
	eventually(t, "the outage is noticed", func() bool { return w.status(id).StartedAt != nil && time.Since(*w.status(id).StartedAt) > time.Second })
	if err := w.sim.ResumeListening(); err != nil {
		t.Fatal(err)
	}
	if got := w.tally(id, 0); got.Sent != 300 {
		t.Errorf("%+v", got)
	}
	w.checkTold(id)
	if s := w.status(id); s.Resent != 0 {
		t.Errorf("nothing had been written, and yet %+v", s)
	}
}
