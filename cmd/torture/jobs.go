package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"crier/internal/procs"
)

const (
	jobsOpen     = 3 // bulk jobs whose targets are kept pending, in the mean
	sendTimeout  = 30 * time.Second
	urgentEvery  = 700 * time.Millisecond // in the mean
	bulkInterval = 250 * time.Millisecond // between two submissions at least
)

// job is one of the plan.
type job struct {
	id     string
	total  int
	hold   bool
	urgent bool
	weight int
	poison []int // targets that make a whole call fail
	refuse []int // targets that an accepted call says no for
}

// name is that of the n-th target: no two jobs share any.
func (j job) name(n int) string { return fmt.Sprintf("%s-%06d", j.id, n) }

// index is the number of a target by its name; ok is false for what is none of
// the job.
func (j job) index(name string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(name, j.id+"-")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && n < j.total && j.name(n) == name
}

// plans are the jobs that may be submitted, in this order.
type plans struct{ bulk, urgent []job }

// plan draws more jobs than the time can take.
func plan(o *options) (p plans) {
	rng := rand.New(rand.NewPCG(uint64(o.Seed), 0))
	for n := range int(o.Duration/bulkInterval) + jobsOpen {
		j := job{id: fmt.Sprintf("b%04d", n), total: o.Targets/2 + rng.IntN(o.Targets), hold: n%3 == 2, weight: 1 + rng.IntN(10)}
		for k := range 6 { // apart from each other, wherever they are
			at := rng.IntN(j.total/6) + k*(j.total/6)
			if k < 2 {
				j.poison = append(j.poison, at)
			} else {
				j.refuse = append(j.refuse, at)
			}
		}
		p.bulk = append(p.bulk, j)
	}
	for n := range 2 * int(o.Duration/urgentEvery) {
		p.urgent = append(p.urgent, job{id: fmt.Sprintf("u%05d", n), total: 1, urgent: true, hold: n%4 == 3})
	}
	return p
}

// bad are the names of targets that the API does not take.
func (p plans) bad() (poison, refuse []string) {
	for _, j := range p.bulk {
		for _, n := range j.poison {
			poison = append(poison, j.name(n))
		}
		for _, n := range j.refuse {
			refuse = append(refuse, j.name(n))
		}
	}
	return poison, refuse
}

// load submits jobs.
type load struct {
	world *world
	plan  plans

	mu   sync.Mutex
	jobs []job // whose submission has begun
}

// run submits jobs until ctx ends; one whose submission has begun then is
// repeated until it is taken in, or broken off with whole.
func (l *load) run(ctx, whole context.Context) error {
	var group sync.WaitGroup
	var errs [2]error
	group.Go(func() { errs[0] = l.bulk(ctx, whole) })
	group.Go(func() { errs[1] = l.urgent(ctx, whole) })
	group.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// bulk keeps some bulk jobs going.
func (l *load) bulk(ctx, whole context.Context) error {
	enough := int64(jobsOpen * l.world.options.Targets)
	left := l.plan.bulk
	for procs.Pause(ctx, bulkInterval) == nil && len(left) > 0 {
		if open, err := l.running(ctx); err != nil || pending(open) >= enough {
			continue // Redis may be away: then none is needed
		}
		if err := l.submit(whole, left[0]); err != nil {
			return err
		}
		left = left[1:]
	}
	return nil
}

// urgent submits jobs of one target now and then.
func (l *load) urgent(ctx, whole context.Context) error {
	left := l.plan.urgent
	for procs.Pause(ctx, urgentEvery/2+rand.N(urgentEvery)) == nil && len(left) > 0 {
		if err := l.submit(whole, left[0]); err != nil {
			return err
		}
		left = left[1:]
	}
	return nil
}

// submit hands a job over as a careful user does: under one id, again and again
// until it is said that it was taken in.
func (l *load) submit(ctx context.Context, j job) error {
	l.mu.Lock()
	l.jobs = append(l.jobs, j)
	l.mu.Unlock()
	list := filepath.Join(l.world.programs.Dir, j.id+".txt")
	if err := writeList(list, j); err != nil {
		return err
	}
	args := []string{"send", "--id", j.id, "--targets", list, "--type", "txt", "--text", "torture"}
	if j.hold {
		args = append(args, "--on-unknown", "hold")
	}
	if j.urgent {
		args = append(args, "--priority", "urgent")
	} else {
		args = append(args, "--weight", strconv.Itoa(j.weight))
	}
	deadline := time.Now().Add(l.world.options.Settle)
	for {
		_, err := l.world.enqueue(ctx, args...)
		if err == nil {
			return os.Remove(list)
		}
		if code := exitCode(err); ctx.Err() != nil || code != 1 || time.Now().After(deadline) {
			return fmt.Errorf("job %s cannot be submitted: %w", j.id, err)
		}
		if err := procs.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func writeList(path string, j job) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	for n := range j.total {
		_, _ = w.WriteString(j.name(n) + "\n") // Flush has its error
	}
	err = w.Flush()
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// status is what is read of a status document.
type status struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Total     int64  `json:"total"`
	Pending   int64  `json:"pending"`
	Sent      int64  `json:"sent"`
	Failed    int64  `json:"failed"`
	Unknown   int64  `json:"unknown"`
	Cancelled int64  `json:"cancelled"`
	Resent    int64  `json:"resent"`

	Blocked *string `json:"blocked"`
}

func (s status) blockedBy() string {
	if s.Blocked == nil {
		return "nothing"
	}
	return *s.Blocked
}

// running lists jobs that have not ended.
func (l *load) running(ctx context.Context) (open []status, err error) {
	out, err := l.world.enqueue(ctx, "list", "--state", "running", "--limit", "10000", "--json")
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(out, &open)
	return open, err
}

// pending is the number of targets that jobs have still to deliver to.
func pending(open []status) (n int64) {
	for _, s := range open {
		n += s.Pending
	}
	return n
}
