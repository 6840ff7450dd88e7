package procs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Redis is a redis-server of our own.
type Redis struct {
	Addr string // host:port

	programs *Programs
	program  string
	args     []string
	tls      *tls.Config // of those who talk to it; nil = it speaks no TLS
	ready    string      // what it says once it serves
	port     string
	process  *Process
}

// StartRedis starts a redis-server on a free port of 127.0.0.1 that keeps its
// data in dir; args are directives of redis.conf, which win over ours: nothing
// is written to disk.
func StartRedis(ctx context.Context, p *Programs, dir string, args ...string) (*Redis, error) {
	return StartTLSRedis(ctx, p, dir, nil, args...)
}

// StartTLSRedis is StartRedis for a server that speaks nothing but TLS, whose
// certificates args name; client is how to talk to it, nil = without TLS.
func StartTLSRedis(ctx context.Context, p *Programs, dir string, client *tls.Config, args ...string) (*Redis, error) {
	ours := []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir}
	return startRedis(ctx, &Redis{programs: p, tls: client, ready: "Ready to accept connections", args: append(ours, args...)})
}

// Watch is what a sentinel looks after.
type Watch struct {
	Name   string // of the master, which clients ask for
	Master string // host:port
	Quorum int    // how many sentinels declare it down
}

// StartSentinel starts a sentinel that finds a master down after a second.
func StartSentinel(ctx context.Context, p *Programs, dir string, w Watch) (*Redis, error) {
	config := filepath.Join(dir, "sentinel.conf")
	// Where two sentinels want to lead at once, they try again after twice the failover-timeout.
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]d\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 2000\n",
		w.Name, strings.Replace(w.Master, ":", " ", 1), w.Quorum)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	args := []string{config, "--sentinel", "--bind", "127.0.0.1", "--dir", dir}
	return startRedis(ctx, &Redis{programs: p, ready: "Sentinel ID is", args: args})
}

func startRedis(ctx context.Context, r *Redis) (_ *Redis, err error) {
	if r.program, err = exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("a real redis-server is needed, and none is installed: %w", err)
	}
	if r.process, r.port, err = r.programs.Serve(r.ready, r.command); err != nil {
		return nil, err
	}
	r.Addr = net.JoinHostPort("127.0.0.1", r.port)
	if err := r.check(ctx); err != nil {
		r.Kill()
		return nil, err
	}
	return r, nil
}

// command is killed rather than asked when all ends: nothing of it is kept.
func (r *Redis) command(port string) *exec.Cmd {
	args := append(slices.Clone(r.args), "--port", port)
	if r.tls != nil {
		args = append(slices.Clone(r.args), "--port", "0", "--tls-port", port)
	}
	return r.programs.Command(context.Background(), 0, nil, r.program, args...)
}

// check finds whether it is this server that answers at the address.
func (r *Redis) check(ctx context.Context) error {
	client := redis.NewClient(&redis.Options{Addr: r.Addr, PoolSize: 1, TLSConfig: r.tls})
	defer func() { _ = client.Close() }() // it has only read
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "\r\nprocess_id:"+strconv.Itoa(r.PID())+"\r\n") {
		return errors.New("another server has the port of redis-server")
	}
	return nil
}

// URL is that of database 0, without files for TLS.
func (r *Redis) URL() string {
	if r.tls != nil {
		return "rediss://" + r.Addr + "/0"
	}
	return "redis://" + r.Addr + "/0"
}

// Command is how it was started.
func (r *Redis) Command() *exec.Cmd { return r.process.Cmd }

// PID is that of the server, which Restart changes.
func (r *Redis) PID() int { return r.process.Cmd.Process.Pid }

// Kill ends the server at once (SIGKILL), as a crash does.
func (r *Redis) Kill() { r.process.Kill() }

// Restart starts the server again, after Kill, at the same address and with
// what stands in its folder, and waits until that is loaded.
func (r *Redis) Restart(ctx context.Context) error {
	process, err := r.programs.Start(r.command(r.port))
	if err != nil {
		return err
	}
	r.process = process
	if err := process.Await(r.ready); err != nil {
		return err
	}
	return r.check(ctx)
}
