package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"crier/internal/chatsim"
	"crier/internal/procs"
)

// site is what one measurement has for itself: a simulated Chat API, and, for
// Crier, an empty Redis.
type site struct {
	programs *programs
	sim      *procs.Process // nil where nothing is delivered
	chatURL  string

	redis    *procs.Redis // nil for the bare loop
	redisURL string
	client   *redis.Client // one connection, to look at Redis only
}

// openSim starts the simulated API.
func openSim(p *programs) (*site, error) {
	sim, port, err := p.Serve("http://", func(port string) *exec.Cmd {
		return p.command(context.Background(), nil, "chatsim", "--listen", "127.0.0.1:"+port, "--no-journal")
	})
	if err != nil {
		return nil, err
	}
	p.note(sim.Cmd)
	return &site{programs: p, sim: sim, chatURL: "http://127.0.0.1:" + port}, nil
}

// openStore starts a Redis alone.
func openStore(ctx context.Context, p *programs, appendOnly bool) (*site, error) {
	s := &site{programs: p}
	return s, s.openRedis(ctx, appendOnly)
}

// openSite starts the simulated API and a Redis.
func openSite(ctx context.Context, p *programs, appendOnly bool) (*site, error) {
	s, err := openSim(p)
	if err != nil {
		return nil, err
	}
	if err := s.openRedis(ctx, appendOnly); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *site) openRedis(ctx context.Context, appendOnly bool) error {
	dir, err := os.MkdirTemp(s.programs.Dir, "redis-")
	if err != nil {
		return err
	}
	var args []string
	if appendOnly {
		args = []string{"--appendonly", "yes"}
	}
	if s.redis, err = procs.StartRedis(ctx, &s.programs.Programs, dir, args...); err != nil {
		return err
	}
	s.programs.note(s.redis.Command())
	s.redisURL = s.redis.URL()
	s.client = redis.NewClient(&redis.Options{Addr: s.redis.Addr, PoolSize: 1})
	return nil
}

func (s *site) close() {
	if s.client != nil {
		_ = s.client.Close() // it has only read
	}
	if s.redis != nil {
		s.redis.Kill()
	}
	if s.sim != nil {
		s.sim.Kill()
	}
}

// redisInfo is the answer to INFO.
type redisInfo map[string]string

func parseInfo(text string) redisInfo {
	facts := redisInfo{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	return facts
}

// number is a fact as a number, 0 where it is not there.
func (f redisInfo) number(name string) float64 {
	n, _ := strconv.ParseFloat(f[name], 64)
	return n
}

// cpu is the processor time that Redis has used, forked children included.
func (f redisInfo) cpu() time.Duration {
	seconds := 0.0
	for _, of := range []string{"used_cpu_user", "used_cpu_sys", "used_cpu_user_children", "used_cpu_sys_children"} {
		seconds += f.number(of)
	}
	return time.Duration(seconds * float64(time.Second))
}

func (f redisInfo) commands() int64 { return int64(f.number("total_commands_processed")) }

func (f redisInfo) network() int64 {
	return int64(f.number("total_net_input_bytes") + f.number("total_net_output_bytes"))
}

func (f redisInfo) memory() int64 { return int64(f.number("used_memory")) }

func (s *site) info(ctx context.Context) (redisInfo, error) {
	text, err := s.client.Info(ctx).Result()
	return parseInfo(text), err
}

// settled looks at Redis when nobody else is connected and its memory has come
// to rest, so that no connection's buffers are part of it.
func (s *site) settled(ctx context.Context) (redisInfo, error) {
	const (
		still   = 1 << 10 // bytes
		timeout = 20 * time.Second
	)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errors.New("redis does not come to rest"))
	defer cancel()
	last := int64(-1)
	for {
		facts, err := s.info(ctx)
		if err != nil {
			return nil, err
		}
		now := facts.memory()
		if facts.number("connected_clients") == 1 && last >= 0 && max(now-last, last-now) < still {
			return facts, nil
		}
		last = now
		if err := procs.Pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// worker starts a worker on the site.
func (s *site) worker(quota string) (*procs.Process, error) {
	cmd := s.programs.command(context.Background(), []string{
		"REDIS_URL=" + s.redisURL, "CHAT_URL=" + s.chatURL, "CHAT_ORG=" + simulated.Org, "CHAT_APP=" + simulated.App,
		"CHAT_TOKEN=" + simulated.Token, "CHAT_QUOTA=" + quota, "ADMIN_ADDR=off",
	}, "worker")
	s.programs.note(cmd)
	return s.programs.Start(cmd)
}

// accepted asks the simulated API what it has seen, and fails unless that is
// each of so many targets once, and nothing else.
func (s *site) accepted(ctx context.Context, targets int) (chatsim.Stats, error) {
	var stats chatsim.Stats
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.chatURL+"/_sim/stats", http.NoBody)
	if err != nil {
		return stats, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return stats, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.UnmarshalRead(response.Body, &stats); err != nil {
		return stats, err
	}
	if stats.AcceptedTargets != int64(targets) || stats.AcceptedCalls != stats.Calls {
		return stats, fmt.Errorf("the simulated API has accepted %d of %d targets, in %d of %d calls",
			stats.AcceptedTargets, targets, stats.AcceptedCalls, stats.Calls)
	}
	return stats, nil
}
