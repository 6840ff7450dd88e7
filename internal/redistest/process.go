package redistest

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
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/redisconn"
)

const (
	attempts  = 5                // to win a port
	readyWait = 20 * time.Second // for a server to answer, on a busy machine
	pollEvery = 10 * time.Millisecond
)

// process is a running redis-server.
type process struct {
	cmd    *exec.Cmd
	port   string
	log    string // path of what it writes
	exited chan struct{}
}

// startProcess starts a redis-server and waits until it answers. Without a port
// it chooses a free one, and another one whenever somebody else takes it in
// between.
func (s *Server) startProcess(port string) (*process, error) {
	var errs []error
	for range attempts {
		chosen := port
		if chosen == "" {
			var err error
			if chosen, err = freePort(); err != nil {
				return nil, err
			}
		}
		p, err := s.runProcess(chosen)
		if err != nil {
			return nil, err
		}
		if err = p.waitReady(); err == nil {
			return p, nil
		}
		p.end()
		errs = append(errs, fmt.Errorf("%w\n%s", err, p.logTail()))
	}
	return nil, errors.Join(errs...)
}

// freePort finds a port below those that systems give out by themselves, so
// that nothing else takes it while the server is killed and not yet restarted.
func freePort() (string, error) {
	var err error
	for range 100 {
		port := strconv.Itoa(15_000 + rand.N(15_000))
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return port, l.Close()
		}
	}
	return "", err
}

func (s *Server) runProcess(port string) (*process, error) {
	log, err := os.Create(filepath.Join(s.dir, "redis.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the server has a handle of its own
	args := slices.Concat(s.first, []string{"--bind", "127.0.0.1", "--port", port, "--dir", s.dir}, s.args)
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, port: port, log: log.Name(), exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended does not matter, that it ended does
	}()
	return p, nil
}

// waitReady waits until the server answers, and with the process id that it has.
func (p *process) waitReady() error {
	conn, err := redisconn.Open("redis://127.0.0.1:" + p.port)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	err = p.ask(ctx, conn.Client)
	for err != nil {
		select {
		case <-p.exited:
			return fmt.Errorf("%s on port %s ended at once", program, p.port)
		case <-ctx.Done():
			return fmt.Errorf("%s on port %s is not ready after %v: %w", program, p.port, readyWait, err)
		case <-ticker.C:
			err = p.ask(ctx, conn.Client)
		}
	}
	return nil
}

// ask reports why the server that answers is not ready, or not this one.
func (p *process) ask(ctx context.Context, client redis.UniversalClient) error {
	// First without the client, which would log, and wait, for a server still absent.
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", p.port))
	if err != nil {
		return err
	}
	_ = tcp.Close()
	info, err := client.Info(ctx).Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, fmt.Sprintf("\r\nprocess_id:%d\r\n", p.cmd.Process.Pid)) {
		return errors.New("another server has the port")
	}
	if strings.Contains(info, "\r\nloading:1\r\n") {
		return errors.New("it is still loading its data")
	}
	return nil
}

// end kills the process and waits for its end.
func (p *process) end() {
	_ = p.cmd.Process.Kill() // an error says that it has ended before
	<-p.exited
}

func (p *process) logTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}
