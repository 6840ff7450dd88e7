package procs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
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
	port     string
	process  *Process
}

// redisReady is what redis-server says once its data is loaded.
const redisReady = "Ready to accept connections"

// StartRedis starts a redis-server on a free port of 127.0.0.1 that keeps its
// data in dir; args are directives of redis.conf, which win over ours: nothing
// is written to disk.
func StartRedis(ctx context.Context, p *Programs, dir string, args ...string) (*Redis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("a real redis-server is needed, and none is installed: %w", err)
	}
	r := &Redis{
		programs: p, program: program,
		args: append([]string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir}, args...),
	}
	if r.process, r.port, err = p.Serve(redisReady, r.command); err != nil {
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
	return r.programs.Command(context.Background(), 0, nil, r.program, append([]string{"--port", port}, r.args...)...)
}

// check finds whether it is this server that answers at the address.
func (r *Redis) check(ctx context.Context) error {
	client := redis.NewClient(&redis.Options{Addr: r.Addr, PoolSize: 1})
	defer func() { _ = client.Close() }() // it has only read
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "\r\nprocess_id:"+strconv.Itoa(r.process.Cmd.Process.Pid)+"\r\n") {
		return errors.New("another server has the port of redis-server")
	}
	return nil
}

// URL is that of database 0.
func (r *Redis) URL() string { return "redis://" + r.Addr + "/0" }

// Command is how it was started.
func (r *Redis) Command() *exec.Cmd { return r.process.Cmd }

// Kill ends the server at once (SIGKILL), as a crash does.
func (r *Redis) Kill() { r.process.Kill() }

// Restart starts the server again, after Kill, at the same address and with
// what stands in its folder, and waits until that is loaded.
func (r *Redis) Restart(ctx context.Context) (err error) {
	if r.process, err = r.programs.Start(r.command(r.port)); err != nil {
		return err
	}
	if err := r.process.Await(redisReady); err != nil {
		return err
	}
	return r.check(ctx)
}
