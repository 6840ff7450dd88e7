package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"crier/internal/chatsim"
)

func TestExitWithoutRedis(t *testing.T) {
	t.Parallel()
	const nobody = "127.0.0.1:1"
	w := newWorld(t).with("REDIS_URL=redis://" + nobody + "/0")
	for _, args := range [][]string{
		{"send", "--target", "u1", "--text", "hello"}, {"status", "a", "--json"}, {"wait", "a"}, {"list", "--json"}, {"results", "a"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel() // each tries for more than a second
			got := w.in(t).enqueue(args...)
			if got.code != 1 || got.out != "" || !strings.Contains(got.err, nobody) {
				t.Errorf("exit %d, %q", got.code, got.out)
			}
		})
	}
}

func TestExitForAnUnknownJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, args := range [][]string{
		{"status", "nobody"},
		{"status", "nobody", "--json"},
		{"status", "nobody", "--watch"},
		{"wait", "nobody"},
		{"wait", "nobody", "--json"},
		{"results", "nobody"},
		{"results", "nobody", "--format", "ndjson"},
	} {
		got := w.enqueue(args...)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, "no such job") {
			t.Errorf("%q: exit %d, %q", args, got.code, got.out)
		}
	}
	if got := w.succeed("list", "--json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("an empty list is %q", got)
	}
}

// Exit 3 tells that the job is done, but not everybody was reached.
func TestExitWhenNotAllWereSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Refused = []string{"u2"} })
	w.worker()
	got := w.enqueue("send", "--id", "partly", "--target", "u1", "--target", "u2", "--target", "u3", "--text", "hello", "--wait")
	if got.code != 3 || got.out != "partly\n" {
		t.Errorf("send --wait: exit %d, %q\n%s", got.code, got.out, got.err)
	}
	if s := w.wait("partly", 3); s.State != "finished" || s.Sent != 2 || s.Failed != 1 || s.Reasons["rejected"] != 1 {
		t.Errorf("%+v", s)
	}
	rows := w.rows("partly", "--outcome", "failed")
	if r := rows["u2"]; len(rows) != 1 || r.Outcome != "failed" || r.Reason != "rejected" || r.Detail == "" {
		t.Errorf("%+v", rows)
	}
	if got := w.enqueue("status", "partly"); got.code != 0 {
		t.Errorf("status: exit %d", got.code) // it could be told
	}
}

// Ctrl-C ends the waiting, not the job.
func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Latency = time.Second })
	w.worker()
	for name, more := range map[string][]string{"wait": nil, "status": {"--watch"}} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			id := w.send("--target", "u1", "--text", name)
			p := command{program: "enqueue", env: w.vars}.start(t, append([]string{name, id}, more...)...)
			eventually(t, "it waits", func() bool { return p.err.String() != "" })
			p.signal(t, syscall.SIGINT)
			if got := p.result(t); got.code != 130 || got.out != "" {
				t.Errorf("exit %d, %q", got.code, got.out)
			}
			w.wait(id, 0)
		})
	}
	p := command{program: "enqueue", env: w.vars}.start(t, "send", "--id", "slow", "--target", "u2", "--text", "hello", "--wait")
	eventually(t, "it waits", func() bool { return strings.Contains(p.err.String(), "running") })
	p.signal(t, syscall.SIGINT)
	got := p.result(t)
	if got.code != 130 || got.out != "slow\n" || !strings.Contains(got.err, "goes on") {
		t.Errorf("exit %d, %q\n%s", got.code, got.out, got.err)
	}
	if s := w.wait("slow", 0); s.Sent != 1 || w.sim.Delivered("users", "u2") != 1 {
		t.Errorf("%+v", s)
	}
}
