package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/ledger"
	"crier/internal/procs"
	"crier/internal/redisconn"
	"crier/internal/tasks"
)

const (
	urgentJobs   = 2000
	urgentWarmUp = 200 // what Redis and Crier set up once is there after these
)

// urgentCost is what a finished urgent job with one target leaves in Redis.
type urgentCost struct {
	jobs  int
	grown float64 // bytes by which used_memory has grown, for each job
	keys  int     // of one job
	bytes int64   // MEMORY USAGE of these, in sum
}

// urgent submits many jobs of one target and looks at what stays of them.
func (b *bench) urgent(ctx context.Context, quota string) (u urgentCost, err error) {
	s, err := openSite(ctx, b.programs, b.aof)
	if err != nil {
		return u, err
	}
	defer s.close()
	if _, err = s.sendUrgent(ctx, quota, 0, urgentWarmUp); err != nil {
		return u, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return u, err
	}
	id, err := s.sendUrgent(ctx, quota, urgentWarmUp, urgentJobs)
	if err != nil {
		return u, err
	}
	after, err := s.settled(ctx)
	if err != nil {
		return u, err
	}
	if _, err := s.accepted(ctx, urgentWarmUp+urgentJobs); err != nil {
		return u, err
	}
	u.jobs, u.grown = urgentJobs, float64(after.memory()-before.memory())/urgentJobs
	u.keys, u.bytes, err = s.keysOf(ctx, id)
	return u, err
}

// sendUrgent has a worker deliver so many jobs and ends it: its connections
// are no part of what a job costs. It returns the id of the last one.
func (s *site) sendUrgent(ctx context.Context, quota string, from, count int) (last string, err error) {
	worker, err := s.worker(quota)
	if err != nil {
		return "", err
	}
	defer worker.Kill()
	conn, err := redisconn.Open(s.redisURL)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }() // all has been answered
	book, err := ledger.New(conn.Client, ledger.DefaultConfig())
	if err != nil {
		return "", err
	}
	ids, err := submitUrgent(ctx, &tasks.Submitter{Ledger: book, Queue: tasks.NewQueue(conn.Client, ledger.DefaultConfig().Namespace)}, from, count)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		if err := awaitSent(ctx, book, worker, id); err != nil {
			return "", err
		}
	}
	_, err = stop(worker)
	return ids[len(ids)-1], err
}

func submitUrgent(ctx context.Context, to *tasks.Submitter, from, count int) (ids []string, err error) {
	for n := range count {
		name := kindUUIDLike.appendName(nil, uint64(from+n))
		document, err := tasks.ParseDocument(fmt.Appendf(nil,
			`{"target_type":%q,"target":[%q],"msg":{"type":"txt","msg":"Your code is %06d."},"options":{"priority":"urgent"}}`,
			targetType, name, n))
		if err != nil {
			return nil, err
		}
		done, err := to.Submit(ctx, tasks.Submission{Document: document})
		if err != nil {
			return nil, err
		}
		ids = append(ids, done.ID)
	}
	return ids, nil
}

// awaitSent waits until a job has been sent.
func awaitSent(ctx context.Context, book *ledger.Ledger, worker *procs.Process, id string) error {
	for {
		job, err := book.Job(ctx, id)
		switch {
		case err != nil:
			return err
		case job.State.Ended() && job.Sent == job.Total:
			return nil
		case job.State.Ended():
			return fmt.Errorf("the urgent job %s has not sent to its target", id)
		}
		select {
		case <-worker.Exited:
			return errors.New("the worker has ended:\n" + procs.Tail(worker.Log))
		default:
		}
		if err := procs.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// keysOf counts the keys that are a job's own, and their memory.
func (s *site) keysOf(ctx context.Context, id string) (keys int, bytes int64, err error) {
	all := s.client.Scan(ctx, 0, "*"+id+"*", 1000).Iterator()
	for all.Next(ctx) {
		size, err := s.client.MemoryUsage(ctx, all.Val(), 0).Result()
		if errors.Is(err, redis.Nil) { // gone meanwhile
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		keys++
		bytes += size
	}
	return keys, bytes, all.Err()
}
