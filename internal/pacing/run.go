package pacing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/gate"
)

// run is a scenario on its way.
type run struct {
	ctx      context.Context
	scenario Scenario
	clock    *clock
	server   *server
	sizes    *rand.Rand
	result   *Result
}

// Run plays a scenario once: each worker has a gate of its own, and they share
// a namespace of that Redis, which is empty before and after. Runs of different
// scenarios or seeds can share a Redis.
func Run(ctx context.Context, client redis.UniversalClient, s Scenario, seed uint64) (*Result, error) {
	quotas, err := gate.ParseQuotas(s.Quota, s.targetType())
	if err != nil {
		return nil, fmt.Errorf("pacing: %s: %w", s.Name, err)
	}
	cfg := gate.DefaultConfig()
	cfg.Namespace = fmt.Sprintf("pacing:%s:%d", s.Name, seed)
	cfg.Quotas = quotas
	cfg.Patience = time.Hour // a machine that is slow is no Redis that is away
	if err := forget(ctx, client, cfg.Namespace); err != nil {
		return nil, err
	}
	result, err := play(ctx, s, seed, func(now func() time.Time) pacer {
		cfg.Clock = now
		return gate.New(client, cfg)
	})
	if err != nil {
		return nil, fmt.Errorf("pacing: %s: %w", s.Name, err)
	}
	return result, forget(ctx, client, cfg.Namespace)
}

// forget deletes all keys of a namespace.
func forget(ctx context.Context, client redis.UniversalClient, namespace string) error {
	keys := client.Scan(ctx, 0, namespace+":*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Del(ctx, keys.Val()).Err(); err != nil {
			return fmt.Errorf("pacing: %w", err)
		}
	}
	if err := keys.Err(); err != nil {
		return fmt.Errorf("pacing: %w", err)
	}
	return nil
}

// play plays a scenario with whatever decides when calls go, one for each worker.
func play(ctx context.Context, s Scenario, seed uint64, newPacer func(now func() time.Time) pacer) (*Result, error) {
	r := &run{
		ctx: ctx, scenario: s, clock: &clock{}, server: newServer(s.Link, seed),
		sizes: source(seed, "sizes"), result: &Result{Scenario: s},
	}
	starts := source(seed, "starts")
	var urgent []*lane
	for range s.Fleet.Workers {
		p := newPacer(r.clock.time)
		bulk := &lane{run: r, pacer: p, places: s.Fleet.Places, closed: time.Duration(starts.Int64N(int64(recheck)))}
		bulk.wake()
		urgent = append(urgent, &lane{run: r, pacer: p, urgent: true, places: urgentPlaces})
	}
	if s.Fleet.Urgent > 0 {
		r.arrive(urgent, 0)
	}
	if err := r.clock.run(s.Length); err != nil {
		return nil, err
	}
	for _, l := range urgent {
		for _, b := range l.queue {
			r.result.Waits = append(r.result.Waits, Wait{Due: b.due, Wait: s.Length - b.due})
		}
	}
	return r.result, nil
}

// arrive lets the next urgent call come up, at the worker whose turn it is.
func (r *run) arrive(lanes []*lane, turn int) {
	r.clock.after(r.scenario.Fleet.Urgent, func() error {
		l := lanes[turn%len(lanes)]
		l.queue = append(l.queue, batch{targets: 1, due: r.clock.now})
		l.wake()
		r.arrive(lanes, turn+1)
		return nil
	})
}
