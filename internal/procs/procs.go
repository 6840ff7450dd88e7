// Package procs starts programs and servers for benchmarks, trials and tests,
// and ends them.
//
// Invariant: what it has started ends with its own process at the latest (on
// Linux), and gets no variable but those that are given to it: nothing in the
// environment can send it elsewhere, or tune it.
//
// It is for what runs Crier's programs from outside; no program of the product
// imports it.
package procs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	portAttempts = 5
	readyTimeout = 20 * time.Second // for a server to listen, on a busy machine
	pollEvery    = 10 * time.Millisecond
)

// Programs starts programs.
type Programs struct {
	Bin string // folder of programs that are named without one
	Dir string // folder for their logs

	started atomic.Int32
}

// Command prepares a program with just these variables. When ctx ends it gets
// a SIGTERM, and SIGKILL where it has not ended after grace.
func (p *Programs) Command(ctx context.Context, grace time.Duration, env []string, program string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(program) {
		program = filepath.Join(p.Bin, program)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{}, env...) // not nil, which would be all of ours
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	endWithParent(cmd)
	return cmd
}

// Log makes a file for what a program says. Names begin with a number, in the
// order of starts.
func (p *Programs) Log(cmd *exec.Cmd) (*os.File, error) {
	return os.Create(filepath.Join(p.Dir, fmt.Sprintf("%03d-%s.log", p.started.Add(1), filepath.Base(cmd.Path))))
}

// Process is a program that goes on until it is ended. Once Exited is closed,
// Cmd.ProcessState tells how it did.
type Process struct {
	Cmd    *exec.Cmd
	Log    string // path of what it says
	Exited chan struct{}
}

// Start starts a program that goes on.
func (p *Programs) Start(cmd *exec.Cmd) (*Process, error) {
	log, err := p.Log(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the program has a handle of its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	started := &Process{Cmd: cmd, Log: log.Name(), Exited: make(chan struct{})}
	go func() {
		defer close(started.Exited)
		_ = cmd.Wait() // whoever cares looks at ProcessState
	}()
	return started, nil
}

// Serve starts a server on a free port and waits until its log holds ready. If
// somebody else takes the port in between, it tries another one.
func (p *Programs) Serve(ready string, command func(port string) *exec.Cmd) (*Process, string, error) {
	var errs []error
	for range portAttempts {
		port, err := freePort()
		if err != nil {
			return nil, "", err
		}
		server, err := p.Start(command(port))
		if err != nil {
			return nil, "", err
		}
		if err = server.Await(ready); err == nil {
			return server, port, nil
		}
		server.Kill()
		errs = append(errs, err)
	}
	return nil, "", errors.Join(errs...)
}

// freePort finds a port below those that systems give out by themselves, so
// that nothing else takes it while a server is killed and not yet restarted.
func freePort() (port string, err error) {
	for range 100 {
		port = strconv.Itoa(15_000 + rand.N(15_000))
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return port, l.Close()
		}
	}
	return "", err
}

// Await waits until the log holds a text.
func (p *Process) Await(text string) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	timeout := time.After(readyTimeout)
	for {
		if log, err := os.ReadFile(p.Log); err != nil || bytes.Contains(log, []byte(text)) {
			return err
		}
		select {
		case <-ticker.C:
		case <-p.Exited:
			return fmt.Errorf("%s ended at once:\n%s", p.Name(), Tail(p.Log))
		case <-timeout:
			return fmt.Errorf("%s does not listen after %v:\n%s", p.Name(), readyTimeout, Tail(p.Log))
		}
	}
}

// Name is the program's.
func (p *Process) Name() string { return filepath.Base(p.Cmd.Path) }

// Kill kills the process, if it still runs, and waits for its end.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // an error says that it has ended
	<-p.Exited
}

// Stop ends the process as an operator would. An error says that it did not
// end within the time, or how it ended, if not with 0.
func (p *Process) Stop(within time.Duration) error {
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.Exited:
	case <-time.After(within):
		return fmt.Errorf("%s does not end within %v", p.Name(), within)
	}
	if state := p.Cmd.ProcessState; !state.Success() {
		return fmt.Errorf("%s ended with %v:\n%s", p.Name(), state, Tail(p.Log))
	}
	return nil
}

// Tail is the end of a log.
func Tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}

// Pause waits, or until ctx ends; then it returns why.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
