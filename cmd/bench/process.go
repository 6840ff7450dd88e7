package main

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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	portAttempts = 5
	readyTimeout = 20 * time.Second // for a server to listen, on a busy machine
	endTimeout   = 40 * time.Second // for a worker to end: it gives its calls 30 s
	pollEvery    = 10 * time.Millisecond
)

// usage is what a process has used.
type usage struct {
	cpu  time.Duration // user and system
	peak int64         // most resident memory in bytes
	// atMost: peak is that of bench itself, which the kernel counts in; the
	// process has had less.
	atMost bool
}

// usageOf tells it of a child that has ended. Bench holds little in memory
// while it measures, since its own peak hides any smaller one.
func usageOf(state *os.ProcessState) (usage, error) {
	own, err := peakOf(os.Getpid())
	peak := peakOfEnded(state)
	return usage{cpu: state.UserTime() + state.SystemTime(), peak: peak, atMost: peak <= own}, err
}

// programs starts programs, and notes their commands.
type programs struct {
	bin      string   // folder of ours
	dir      string   // for logs
	commands []string // as for a shell
	started  int
}

// command is a program with nothing in its environment but what is given:
// nothing there can send it elsewhere, or tune it.
func (p *programs) command(ctx context.Context, env []string, program string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(program) {
		program = filepath.Join(p.bin, program)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{}, env...) // not nil, which would be all of ours
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endTimeout
	endWithParent(cmd)
	return cmd
}

// note keeps the command for the report.
func (p *programs) note(cmd *exec.Cmd) {
	words := slices.Concat(cmd.Env, []string{short(cmd.Path)}, cmd.Args[1:])
	for i, word := range words {
		if word == "" || strings.ContainsAny(word, " ;{}'\"$*?&|<>()") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	p.commands = append(p.commands, strings.Join(words, " "))
}

// short is a path as seen from here, if it lies below.
func short(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if below, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(below) {
		return below
	}
	return path
}

// log makes a file for what a program says.
func (p *programs) log(cmd *exec.Cmd) (*os.File, error) {
	p.started++
	return os.Create(filepath.Join(p.dir, fmt.Sprintf("%03d-%s.log", p.started, filepath.Base(cmd.Path))))
}

// run runs a program to its end and returns what it printed.
func (p *programs) run(cmd *exec.Cmd) (out []byte, err error) {
	log, err := p.log(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the program has written to it, not we
	p.note(cmd)
	cmd.Stderr = log
	if out, err = cmd.Output(); err != nil {
		return out, fmt.Errorf("%s: %w; it said:\n%s", filepath.Base(cmd.Path), err, tail(log.Name()))
	}
	return out, nil
}

// process is a program that goes on.
type process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

// start starts a program that goes on until end or stop.
func (p *programs) start(cmd *exec.Cmd) (*process, error) {
	log, err := p.log(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the program has a handle of its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	started := &process{cmd: cmd, log: log.Name(), exited: make(chan struct{})}
	go func() {
		defer close(started.exited)
		_ = cmd.Wait() // stop looks at how it ended
	}()
	return started, nil
}

// serve starts a server on a free port and waits until its log holds ready. If
// somebody else takes the port in between, it tries another one.
func (p *programs) serve(ready string, command func(port string) *exec.Cmd) (*process, string, error) {
	var errs []error
	for range portAttempts {
		port, err := freePort()
		if err != nil {
			return nil, "", err
		}
		server, err := p.start(command(port))
		if err != nil {
			return nil, "", err
		}
		if err = server.await(ready); err == nil {
			p.note(server.cmd)
			return server, port, nil
		}
		server.end()
		errs = append(errs, err)
	}
	return nil, "", errors.Join(errs...)
}

// freePort finds a port below those that systems give out by themselves.
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

// await waits until the log holds a text.
func (p *process) await(text string) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	timeout := time.After(readyTimeout)
	for {
		if log, err := os.ReadFile(p.log); err != nil || bytes.Contains(log, []byte(text)) {
			return err
		}
		select {
		case <-ticker.C:
		case <-p.exited:
			return fmt.Errorf("%s ended at once:\n%s", filepath.Base(p.cmd.Path), tail(p.log))
		case <-timeout:
			return fmt.Errorf("%s does not listen after %v:\n%s", filepath.Base(p.cmd.Path), readyTimeout, tail(p.log))
		}
	}
}

// stop ends the process as an operator would, and tells what it has used.
func (p *process) stop() (usage, error) {
	peak, err := peakOf(p.cmd.Process.Pid)
	if err != nil {
		return usage{}, err
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return usage{}, err
	}
	select {
	case <-p.exited:
	case <-time.After(endTimeout):
		return usage{}, fmt.Errorf("%s does not end", filepath.Base(p.cmd.Path))
	}
	state := p.cmd.ProcessState
	if !state.Success() {
		return usage{}, fmt.Errorf("%s ended with %v:\n%s", filepath.Base(p.cmd.Path), state, tail(p.log))
	}
	return usage{cpu: state.UserTime() + state.SystemTime(), peak: peak}, nil
}

// end kills the process, if it still runs, and waits for its end.
func (p *process) end() {
	_ = p.cmd.Process.Kill() // an error says that it has ended
	<-p.exited
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}
