package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
	"crier/internal/targets"
)

func someOptions() *options {
	o := &options{Seed: 7, Duration: time.Minute, KillsEvery: 5 * time.Second, Workers: 3, Targets: 20_000}
	for _, kinds := range lanes {
		o.Calamities = append(o.Calamities, kinds...)
	}
	return o
}

func TestScheduleFollowsTheSeed(t *testing.T) {
	for n := range lanes {
		o, same, other := someOptions(), someOptions(), someOptions()
		other.Seed = 8
		first := o.schedule(n)
		if diff := cmp.Diff(first, same.schedule(n), cmp.AllowUnexported(event{})); diff != "" {
			t.Errorf("the same seed:\n%s", diff)
		}
		if cmp.Equal(first, other.schedule(n), cmp.AllowUnexported(event{})) {
			t.Error("another seed makes the same schedule")
		}
	}
}

func TestScheduleKeepsToItsOptions(t *testing.T) {
	for n, kinds := range lanes {
		o := someOptions()
		events := o.schedule(n)
		if len(events) < 7 || len(events) > 25 {
			t.Errorf("%d calamities in a minute, with one in 5 s", len(events))
		}
		first := map[calamity]bool{}
		for i, e := range events {
			if e.at <= 0 || e.at >= o.Duration || i > 0 && e.at <= events[i-1].at {
				t.Errorf("number %d comes at %v", i, e.at)
			}
			if !slices.Contains(kinds, e.kind) || e.worker < 0 || e.worker >= o.Workers || e.lasts < 0 || e.lasts > 10*time.Second {
				t.Errorf("%+v", e)
			}
			if i < len(kinds) {
				first[e.kind] = true
			}
		}
		if len(first) != len(kinds) {
			t.Errorf("the first %d are only %v", len(kinds), first)
		}
		o.Calamities = []calamity{kinds[1]}
		for _, e := range o.schedule(n) {
			if e.kind != kinds[1] {
				t.Errorf("%s was not asked for", e.kind)
			}
		}
		if o.Calamities = nil; len(o.schedule(n)) > 0 {
			t.Error("calamities that were not asked for")
		}
	}
}

func TestPlan(t *testing.T) {
	p := plan(someOptions())
	if diff := cmp.Diff(p, plan(someOptions()), cmp.AllowUnexported(plans{}, job{})); diff != "" {
		t.Errorf("the same seed:\n%s", diff)
	}
	ids, holds := map[string]bool{}, 0
	for _, j := range slices.Concat(p.bulk, p.urgent) {
		ids[j.id] = true
		if j.hold {
			holds++
		}
		bad := slices.Concat(j.poison, j.refuse)
		slices.Sort(bad)
		if len(slices.Compact(bad)) != len(j.poison)+len(j.refuse) || len(bad) > 0 && (bad[0] < 0 || bad[len(bad)-1] >= j.total) {
			t.Fatalf("%s: of %d, %v are poison and %v refused", j.id, j.total, j.poison, j.refuse)
		}
	}
	if len(ids) != len(p.bulk)+len(p.urgent) || holds == 0 || holds == len(ids) {
		t.Errorf("%d ids of %d jobs, %d of them hold", len(ids), len(p.bulk)+len(p.urgent), holds)
	}
	poison, refuse := p.bad()
	if len(poison) != 2*len(p.bulk) || len(refuse) != 4*len(p.bulk) {
		t.Errorf("%d poison and %d refused targets of %d jobs", len(poison), len(refuse), len(p.bulk))
	}
	name := p.bulk[3].name(17)
	normal, err := targets.Normalize(targets.Users, nil, []byte(name))
	if n, ok := p.bulk[3].index(string(normal)); err != nil || !ok || n != 17 {
		t.Errorf("%s is number %d, %v, %v", name, n, ok, err)
	}
}

func TestMeter(t *testing.T) {
	m := newMeter(nil)
	at := func(since time.Duration) time.Time { return m.since.Add(since) }
	m.broken()
	m.broken() // another thing, before the first is mended
	m.repaired(killRedis)
	if !m.look(time.Now()) {
		t.Error("one thing is still missing")
	}
	m.repaired(killAll)
	if !m.look(at(-time.Second)) || m.look(at(3*time.Second)) {
		t.Error("a call before the end of the standstill is not the one that is waited for, one after it is")
	}
	m.broken()
	m.repaired(killAll)
	m.broken() // before anything was accepted
	m.repaired(outage)
	m.look(at(time.Second))
	for i := range 2 {
		m.broken()
		m.repaired(killAll)
		m.look(at(time.Duration(i+1) * time.Second))
	}
	if median, worst, n := m.figures(killAll); median != 2*time.Second || worst != 3*time.Second || n != 3 {
		t.Errorf("after kill-all: median %v, worst %v of %d", median, worst, n)
	}
	if _, _, n := m.figures(killRedis); n != 0 {
		t.Errorf("%d times after Redis, which was not the last that was missing", n)
	}
	if _, worst, n := m.figures(outage); worst != time.Second || n != 1 {
		t.Errorf("after an outage: worst %v of %d", worst, n)
	}
}

func TestPauses(t *testing.T) {
	m, begin := newMeter(nil), time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	m.idle(time.Time{}, at(50)) // before the first job
	m.idle(at(51), at(53))
	m.broken()
	m.idle(at(51), at(70))
	m.repaired(killRedis)
	m.whole = at(71)
	m.idle(at(51), at(74))
	m.idle(at(75), at(76))
	if got := m.longest(); got != 3*time.Second {
		t.Errorf("the longest pause is %v, want that of 3s since all was there again", got)
	}
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--workers 0":           "--workers",
		"--targets 5":           "--targets",
		"--duration 1ms":        "--duration",
		"--calamities meteor":   "meteor",
		"--faults no-such=1":    "no-such",
		"--fsync sometimes":     "--fsync",
		"--no-such-flag":        "--no-such-flag",
		"--kills-every=0s":      "--kills-every",
		"--latency=-1s":         "--latency",
		"--duration tomorrow":   "--duration",
		"--concurrency nothing": "--concurrency",
	} {
		var out, errs bytes.Buffer
		code := run(strings.Fields(args), &out, &errs)
		if code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("torture %s: exit %d, %q; want 2 and %q", args, code, &errs, want)
		}
	}
	if _, err := chatsim.ParseFaults(defaultFaults); err != nil {
		t.Error(err)
	}
}

func TestRedisIsNeeded(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	var out, errs bytes.Buffer
	if code := run(nil, &out, &errs); code != 1 || !strings.Contains(errs.String(), "redis-server") {
		t.Errorf("exit %d, %q", code, &errs)
	}
}
