package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"crier/internal/ledger"
	"crier/internal/redisconn"
)

type httpCommand struct {
	load
	Targets int  `default:"1000000" help:"Targets of a list."`
	Names   kind `enum:"mixed,sequential,random,uuidlike" default:"mixed" help:"Kind of the targets' names: ${enum}."`
	Rounds  int  `default:"3" help:"Rounds, of which the report has the medians."`
	AOF     bool `name:"aof" help:"Let Redis write its append-only file."`
	Keep    bool `help:"Keep the lists and all logs."`
}

// Validate reports what cannot be measured.
func (c *httpCommand) Validate() error {
	if c.Targets < 1 || c.Rounds < 1 || c.Jobs < 1 || c.Clients < 1 || c.Duration < 0 {
		return errors.New("--targets, --rounds, --jobs and --clients: must be at least 1, --duration at least 0")
	}
	return nil
}

// Run measures and writes the report.
func (c *httpCommand) Run(ctx context.Context, std stdio) error {
	return inFolder(ctx, std, c.Keep, func(b *bench) error {
		b.aof, b.targets = c.AOF, c.Targets
		r, err := c.measure(ctx, b, std.err)
		if err != nil {
			return err
		}
		return r.write(std.out)
	})
}

// measure does all that is measured. The load comes last, since bench makes it
// itself and needs memory for it (see usageOf).
func (c *httpCommand) measure(ctx context.Context, b *bench, progress io.Writer) (r *httpReport, err error) {
	r = &httpReport{load: c.load, targets: c.Targets, names: c.Names, appendOnly: c.AOF, cpus: runtime.NumCPU()}
	if r.lists, err = b.makeLists(ctx, c.Names); err != nil {
		return nil, err
	}
	for round := range c.Rounds {
		_, _ = fmt.Fprintf(progress, "round %d of %d: lists of %d targets\n", round+1, c.Rounds, c.Targets)
		if err := b.listRounds(ctx, r.lists); err != nil {
			return nil, err
		}
		if round == 0 {
			r.commands = b.programs.commands // those of other rounds differ in ports only
		}
	}
	noted := len(b.programs.commands)
	for round := range c.Rounds {
		_, _ = fmt.Fprintf(progress, "round %d of %d: %d urgent jobs of one target from %d clients\n", round+1, c.Rounds, c.Jobs, c.Clients)
		if err := b.jobRounds(ctx, c.load, r); err != nil {
			return nil, err
		}
		if round == 0 {
			r.commands = append(r.commands, b.programs.commands[noted:]...)
		}
	}
	r.redisVersion, err = b.redisVersion(ctx)
	return r, err
}

// jobRound is one load on one server.
type jobRound struct {
	answers
	server   usage
	redisCPU time.Duration
	reads    float64 // of Redis from its connections, for each job
	commands float64 // that Redis has run for each job, those of scripts included
	trips    trips   // of all jobs
	sent     int     // warm-up included
}

// warmUpJobs come before what is measured: connections and scripts are there then.
const warmUpJobs = 500

// jobRounds puts the same load on each server.
func (b *bench) jobRounds(ctx context.Context, l load, r *httpReport) error {
	served, err := b.jobsOnRedis(ctx, l)
	if err != nil {
		return err
	}
	without, err := b.jobsWithout(ctx, l, "/v1/jobs")
	if err != nil {
		return err
	}
	reading, err := b.jobsWithout(ctx, l, pathRead)
	if err != nil {
		return err
	}
	r.served, r.without, r.reading = append(r.served, served), append(r.without, without), append(r.reading, reading)
	return checkTrips(served, without, l.Clients)
}

// checkTrips compares what both have counted. Redis also reads what connections
// begin with, and what the gateway asks once a second.
func checkTrips(served, without jobRound, clients int) error {
	const (
		share         = 0.05
		ofAConnection = 4
	)
	want := without.tripsOfJob()
	if off := served.reads - want; off < -share*want || off > share*want+float64(ofAConnection*clients)/float64(served.jobs) {
		return fmt.Errorf("redis has read %.2f times for each job, and the Redis in memory was asked %.2f times", served.reads, want)
	}
	return nil
}

func (r jobRound) tripsOfJob() float64 { return float64(r.trips.sum()) / float64(r.jobs) }

// jobsOnRedis sends jobs to enqueue serve and looks into the ledger then.
func (b *bench) jobsOnRedis(ctx context.Context, l load) (r jobRound, err error) {
	s, err := openStore(ctx, b.programs, b.aof)
	if err != nil {
		return r, err
	}
	defer s.close()
	d, err := b.enqueueServe(s)
	if err != nil {
		return r, err
	}
	defer d.close()
	warm, err := d.attack(load{Jobs: warmUpJobs, Clients: l.Clients}, "/v1/jobs")
	if err != nil {
		return r, err
	}
	before, err := s.info(ctx)
	if err != nil {
		return r, err
	}
	if r.answers, err = d.attack(l, "/v1/jobs"); err != nil {
		return r, err
	}
	after, err := s.info(ctx)
	if err != nil {
		return r, err
	}
	each := func(fact string) float64 { return (after.number(fact) - before.number(fact)) / float64(r.jobs) }
	r.redisCPU, r.reads, r.commands = after.cpu()-before.cpu(), each("total_reads_processed"), each("total_commands_processed")
	r.sent = warm.jobs + r.jobs
	if err := s.holds(ctx, r.sent); err != nil {
		return r, err
	}
	r.server, err = d.stop()
	return r, err
}

// holds fails unless the ledger has just so many urgent jobs of one target, and the queue a token of each.
func (s *site) holds(ctx context.Context, jobs int) error {
	conn, err := redisconn.Open(s.redisURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it has only read
	cfg := ledger.DefaultConfig()
	book, err := ledger.New(conn.Client, cfg)
	if err != nil {
		return err
	}
	found := 0
	for job, err := range book.Jobs(ctx, "") {
		if err != nil {
			return err
		}
		if job.Urgent && job.State == ledger.StateRunning && job.Total == 1 && job.Pending == 1 {
			found++
		}
	}
	tokens, err := conn.Client.LLen(ctx, "asynq:{"+cfg.Namespace+"-urgent}:pending").Result()
	if err != nil {
		return err
	}
	if found != jobs || tokens != int64(jobs) {
		return fmt.Errorf("%w: %d jobs were accepted, and there are %d, with %d tokens", errUnequal, jobs, found, tokens)
	}
	return nil
}

// jobsWithout sends jobs to the yardstick.
func (b *bench) jobsWithout(ctx context.Context, l load, path string) (r jobRound, err error) {
	d, err := b.withoutRedis()
	if err != nil {
		return r, err
	}
	defer d.close()
	warm, err := d.attack(load{Jobs: warmUpJobs, Clients: l.Clients}, path)
	if err != nil {
		return r, err
	}
	before, err := d.asks(ctx)
	if err != nil {
		return r, err
	}
	if r.answers, err = d.attack(l, path); err != nil {
		return r, err
	}
	after, err := d.asks(ctx)
	if err != nil {
		return r, err
	}
	r.trips, r.sent = after.Trips.since(before.Trips), warm.jobs+r.jobs
	if made := after.Made; path != pathRead && made != r.sent {
		return r, fmt.Errorf("%w: %d jobs were accepted, and the Redis in memory was given %d", errUnequal, r.sent, made)
	}
	r.server, err = d.stop()
	return r, err
}
