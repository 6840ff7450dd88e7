package procs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// shell makes a command of a line for sh.
func shell(t *testing.T, p *Programs, line string) *exec.Cmd {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	return p.Command(context.Background(), 0, nil, sh, "-c", line)
}

func TestServe(t *testing.T) {
	p := &Programs{Dir: t.TempDir()}
	marker := filepath.Join(t.TempDir(), "tried")
	server, port, err := p.Serve("ready on", func(port string) *exec.Cmd {
		return shell(t, p, `if [ ! -e `+marker+` ]; then : > `+marker+`; echo "port taken"; exit 1; fi; trap "exit 0" TERM; echo ready on `+port+`; while :; do sleep 0.01; done`)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	if said := Tail(server.Log); said != "ready on "+port {
		t.Errorf("on port %s it said %q", port, said)
	}
	if err := server.Stop(20 * time.Second); err != nil {
		t.Error(err)
	}
	if _, _, err = p.Serve("ready", func(string) *exec.Cmd { return shell(t, p, `echo "disk full"; exit 1`) }); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a server that never starts is told as %v", err)
	}
}

// started starts a program that is ready for whatever follows.
func started(t *testing.T, line string) *Process {
	t.Helper()
	p := &Programs{Dir: t.TempDir()}
	process, err := p.Start(shell(t, p, line+`; echo up; while :; do sleep 0.01; done`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	if err := process.Await("up"); err != nil {
		t.Fatal(err)
	}
	return process
}

func TestKill(t *testing.T) {
	stubborn := started(t, `trap "" TERM`)
	stubborn.Kill()
	if state := stubborn.Cmd.ProcessState; state == nil || state.Success() {
		t.Errorf("it ended with %v", state)
	}
}

func TestStopTellsWhatWentWrong(t *testing.T) {
	if err := started(t, `trap "" TERM`).Stop(time.Millisecond); err == nil || !strings.Contains(err.Error(), "within 1ms") {
		t.Errorf("one that does not end: %v", err)
	}
	if err := started(t, `trap "echo no room; exit 3" TERM`).Stop(20 * time.Second); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("one that ends with 3: %v", err)
	}
}

func TestRedisComesBackWithItsData(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	r, err := StartRedis(t.Context(), &Programs{Dir: t.TempDir()}, t.TempDir(), "--appendonly", "yes", "--appendfsync", "always")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { r.Kill() }()
	client := redis.NewClient(&redis.Options{Addr: r.Addr})
	defer func() { _ = client.Close() }()
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	first := r.PID()
	r.Kill()
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("after the restart: %q, %v", got, err)
	}
	if r.PID() == first {
		t.Error("it is the same process")
	}
}
