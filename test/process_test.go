package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	patience  = 30 * time.Second // for anything to happen, on a busy machine
	pollEvery = 10 * time.Millisecond
)

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// command is a program with the variables and the standard input it gets. It
// inherits no variable of the test's own environment.
type command struct {
	program string
	env     []string
	stdin   io.Reader // nil = empty
}

// result is what a program has left behind.
type result struct {
	code     int
	out, err string
}

// run runs the program to its end.
func (c command) run(t testing.TB, args ...string) result {
	t.Helper()
	return c.start(t, args...).result(t)
}

// process is a program that runs.
type process struct {
	cmd    *exec.Cmd
	out    output
	err    output
	exited chan struct{}
	code   int // valid once exited is closed
}

// start starts the program; it ends with its test at the latest.
func (c command) start(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(filepath.Join(programs, c.program), args...), exited: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.env...)
	p.cmd.Stdin = c.stdin
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	endWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		err := p.cmd.Wait()
		var exit *exec.ExitError
		if p.code = p.cmd.ProcessState.ExitCode(); err != nil && !errors.As(err, &exit) {
			p.code = -1 // its output could not be read
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // an error says that it has ended before
		<-p.exited
		if text := p.err.tail(); t.Failed() && text != "" {
			t.Logf("%s wrote on standard error:\n%s", c.program, text)
		}
	})
	return p
}

// result waits for the end of the program.
func (p *process) result(t testing.TB) result {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(2 * patience):
		t.Fatalf("%s has not ended after %v", p.cmd.Path, 2*patience)
	}
	return result{p.code, p.out.String(), p.err.String()}
}

// signal sends a signal, as a terminal or a service manager does.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// output collects what a program writes, and can be read meanwhile.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// tail is the end of it, for a failed test's log.
func (o *output) tail() string {
	text := o.String()
	return text[max(0, len(text)-4000):]
}

// admin returns the URL of a worker's admin server. The worker has to write its
// log as JSON, and to listen on a port of its own choice.
func (p *process) admin(t testing.TB) string {
	t.Helper()
	var line struct{ Msg, Addr string }
	eventually(t, "the worker tells the address of its admin server", func() bool {
		for text := range strings.Lines(p.err.String()) {
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "admin server listens" {
				return true
			}
		}
		return false
	})
	return "http://" + line.Addr
}

// get fetches a page; status 0 = nobody answered.
func get(t testing.TB, url string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }() // read only
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}
