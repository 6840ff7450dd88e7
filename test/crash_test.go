package test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// A load that is cut off leaves nothing that anybody could see, and the same
// command loads afresh.
func TestLoadThatIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	list := strings.Join(names(30_000), "\n") + "\n" // more than one segment
	args := []string{"send", "--id", "j", "--targets", "-", "--text", "hello"}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := command{program: "enqueue", env: w.vars, stdin: read}.start(t, args...)
		_ = read.Close() // the program has its own
		if _, err := write.WriteString(list); err != nil {
			t.Fatal(err)
		}
		eventually(t, "some of it is stored", func() bool { return len(w.keysOf("j")) > 0 })
		p.signal(t, signal)
		got := p.result(t)
		if got.out != "" || signal == syscall.SIGINT && got.code != 130 {
			t.Errorf("exit %d, %q", got.code, got.out)
		}
		_ = write.Close() // nobody reads any more
		if text := strings.TrimSpace(w.succeed("list", "--json")); text != "[]" {
			t.Errorf("after %v the list is %s", signal, text)
		}
		if got := w.enqueue("status", "j"); got.code != 1 {
			t.Errorf("after %v the status is %s", signal, got.out)
		}
	}
	if n := len(w.journal(chatsim.Users)); n > 0 {
		t.Fatalf("%d targets of half a list were sent to", n)
	}
	w.sendWith(list, append(args[1:], "--wait")...)
	if diff := cmp.Diff(once(names(30_000)...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
}

// After kill -9 another worker goes on within seconds. Whose answers were lost
// is sent again and told, or never again, as the job wants it.
func TestWorkerIsKilled(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"resend", "hold"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *chatsim.Config) { c.Latency = 400 * time.Millisecond })
			w = w.with("CHAT_MAX_USERS=10", "CONCURRENCY=4")
			first := w.worker()
			id := w.send("--targets", listFile(t, names(400)...), "--text", "hello", "--on-unknown", policy)
			eventually(t, "some calls are answered and others in flight", func() bool {
				return w.status(id).Sent > 0 && w.sim.Stats().InFlight > 1
			})
			first.signal(t, syscall.SIGKILL)
			w.worker()
			code := 0
			if policy == "hold" {
				code = 3
			}
			got := w.tally(id, code)
			w.checkTold(id)
			s := w.status(id)
			if policy == "resend" && (got.Sent != 400 || s.Resent == 0) {
				t.Errorf("%+v", s)
			}
			if policy == "hold" && (got.Unknown == 0 || got.Sent+got.Unknown != 400 || s.Resent != 0 || got.Reasons["answer_lost"] != got.Unknown) {
				t.Errorf("%+v", s)
			}
			for name, n := range w.journal(chatsim.Users) {
				if n > 2 || policy == "hold" && n > 1 {
					t.Fatalf("%s was delivered to %d times", name, n)
				}
			}
		})
	}
}

// The embedded Redis of a trial lives in the worker.
func TestEmbeddedRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t).with("REDIS_URL=embedded:0")
	p := w.worker()
	log := p.err.String()
	if !regexp.MustCompile(`"level":"WARN".*keeps nothing`).MatchString(log) {
		t.Error("it does not warn that nothing is kept")
	}
	address := regexp.MustCompile(`redis://127\.0\.0\.1:\d+`).FindString(log)
	if address == "" {
		t.Fatal("it does not tell its address")
	}
	if got := w.enqueue("list"); got.code != 2 || !strings.Contains(got.err, "REDIS_URL") {
		t.Errorf("enqueue with an embedded Redis of its own: %+v", got)
	}
	w.with("REDIS_URL="+address).send("--target", "u1", "--text", "hello", "--wait")
	if n := w.sim.Delivered(chatsim.Users, "u1"); n != 1 {
		t.Errorf("delivered %d times", n)
	}
	w.stop(p)

	port := fmt.Sprint(strings.TrimPrefix(address, "redis://127.0.0.1:"))
	w = w.with("REDIS_URL=embedded:" + port)
	p = w.worker()
	if log := p.err.String(); !strings.Contains(log, address) {
		t.Errorf("it does not listen on port %s", port)
	}
	w.stop(p)
}
