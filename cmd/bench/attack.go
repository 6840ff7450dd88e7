package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	vegeta "github.com/tsenart/vegeta/v12/lib"

	"crier/internal/procs"
)

// door is a gateway that runs.
type door struct {
	process *procs.Process
	url     string
	client  *http.Client // its connections are kept
	names   atomic.Uint64
}

// enqueueServe starts the built gateway on a site's Redis.
func (b *bench) enqueueServe(s *site) (*door, error) {
	return b.open(func(addr string) *exec.Cmd {
		return b.programs.command(context.Background(),
			[]string{"REDIS_URL=" + s.redisURL, "ENQUEUE_API_KEYS=" + apiKey}, "enqueue", "serve", "--listen", addr)
	})
}

// withoutRedis starts the yardstick.
func (b *bench) withoutRedis() (*door, error) {
	return b.open(func(addr string) *exec.Cmd {
		return b.programs.command(context.Background(), nil, b.self, "gateway", "--listen", addr)
	})
}

func (b *bench) open(command func(addr string) *exec.Cmd) (*door, error) {
	const host = "127.0.0.1:"
	process, port, err := b.programs.Serve(gatewayReady, func(port string) *exec.Cmd { return command(host + port) })
	if err != nil {
		return nil, err
	}
	b.programs.note(process.Cmd)
	return &door{process: process, url: "http://" + host + port, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}, nil
}

// close ends the server if it still runs.
func (d *door) close() {
	d.client.CloseIdleConnections()
	d.process.Kill()
}

// stop ends the server as an operator would, and tells what it has used.
func (d *door) stop() (usage, error) {
	d.client.CloseIdleConnections()
	return stop(d.process)
}

// load is how jobs come.
type load struct {
	Jobs     int           `default:"20000" help:"Jobs of one target in a round."`
	Clients  int           `default:"50" help:"Clients, each with a connection of its own, that send them one after the other."`
	Duration time.Duration `help:"End a round after so long, with fewer jobs; 0 = never."`
}

// Pace lets jobs come as fast as they are answered, until there were enough.
func (l load) Pace(_ time.Duration, hits uint64) (wait time.Duration, stop bool) {
	return 0, hits >= uint64(l.Jobs)
}

// Rate is no given one.
func (load) Rate(time.Duration) float64 { return 0 }

// answers is what has come of a load.
type answers struct {
	jobs     int // each answered with 202
	rate     float64
	p50, p99 time.Duration
}

// attack posts urgent jobs of one target each, and fails unless all are accepted.
func (d *door) attack(l load, path string) (answers, error) {
	attacker := vegeta.NewAttacker(vegeta.Client(d.client), vegeta.Workers(uint64(l.Clients)), vegeta.MaxWorkers(uint64(l.Clients)))
	header := http.Header{"Authorization": {"Bearer " + apiKey}, "Content-Type": {"application/json"}}
	target := func(t *vegeta.Target) error {
		*t = vegeta.Target{Method: http.MethodPost, URL: d.url + path, Header: header, Body: urgentDocument(d.names.Add(1))}
		return nil
	}
	var m vegeta.Metrics
	for result := range attacker.Attack(target, l, l.Duration, "") {
		m.Add(result)
	}
	m.Close()
	accepted := m.StatusCodes["202"]
	if accepted == 0 || uint64(accepted) != m.Requests || len(m.Errors) > 0 {
		return answers{}, fmt.Errorf("%s: %d of %d requests were accepted: %v; %.300s", path, accepted, m.Requests, m.StatusCodes, strings.Join(m.Errors, "; "))
	}
	return answers{jobs: accepted, rate: m.Throughput, p50: m.Latencies.P50, p99: m.Latencies.P99}, nil
}

func urgentDocument(n uint64) []byte {
	return fmt.Appendf(nil, `{"target_type":%q,"target":[%q],"msg":{"type":"txt","msg":"Your code is %06d."},"options":{"priority":"urgent"}}`,
		targetType, kindUUIDLike.appendName(nil, n), n%1_000_000)
}

// asks tells what the yardstick has asked the Redis in memory.
func (d *door) asks(ctx context.Context) (a asks, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+pathAsks, http.NoBody)
	if err != nil {
		return a, err
	}
	return a, d.do(request, http.StatusOK, &a)
}

// do makes a request and reads its answer.
func (d *door) do(request *http.Request, want int, answer any) error {
	request.Header.Set("Authorization", "Bearer "+apiKey)
	response, err := d.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != want {
		var problem struct {
			Detail string `json:"detail"`
		}
		_ = json.UnmarshalRead(response.Body, &problem) // the status says enough
		return fmt.Errorf("%s %s: %s: %s", request.Method, request.URL.Path, response.Status, problem.Detail)
	}
	if answer == nil {
		return nil
	}
	return json.UnmarshalRead(response.Body, answer)
}

var errUnequal = errors.New("the ledger is not what was answered")
