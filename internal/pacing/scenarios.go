package pacing

import (
	"slices"
	"time"
)

// Scenarios are all scenarios, those with known quotas first.
func Scenarios() []Scenario {
	return slices.Concat(known(), learnCalls(), learnTargets(), faults(), urgent())
}

// three is the usual fleet: as many calls in flight as one worker has by default.
func three(batch Range) Fleet { return Fleet{Workers: 3, Places: 11, Batch: batch} }

// link is a usual link: a call takes 40 to 60 ms.
func link(limits ...Limit) Link {
	return Link{Limits: limits, Latency: 40 * time.Millisecond, Jitter: 20 * time.Millisecond}
}

// perSecond is a limit of calls. Windows begin at no round time: neither here
// nor in targets.
func perSecond(n int, kind Kind) Limit {
	return Limit{N: n, Unit: Calls, Window: time.Second, Kind: kind, Phase: 300 * time.Millisecond}
}

func targets(n int, window time.Duration, kind Kind) Limit {
	return Limit{N: n, Unit: Targets, Window: window, Kind: kind, Phase: window * 3 / 10}
}

// from lets a limit be another one from a time on.
func (l Limit) from(at time.Duration, n int) Limit {
	l.Steps = append(slices.Clone(l.Steps), Step{at, n})
	return l
}

// known are quotas that the gate is told: nothing may be refused, and what its
// margin costs is all that is left.
func known() []Scenario {
	const both = "users=30/s,3000t/5s"
	bands := between(5, 45, 0.97, 0.005)
	tell := func(name, about, quota string, batch Range, limits ...Limit) Scenario {
		return Scenario{Name: name, About: about, Quota: quota, Link: link(limits...), Fleet: three(batch), Length: 45 * time.Second, Bands: bands}
	}
	minute := func(name, about string, kind Kind) Scenario {
		s := tell(name, about, "users=6000t/m", Range{300, 330}, targets(6000, time.Minute, kind))
		s.Length, s.Bands = 5*time.Minute, between(60, 300, 0.97, 0.005)
		return s
	}
	coded := minute("known-minute-urgent", "6,000 targets/min, known; batches of 600, and an urgent call every 0.5 s", Fixed)
	coded.Fleet.Batch, coded.Fleet.Urgent = Range{Least: 600}, 500*time.Millisecond
	return []Scenario{
		tell("known-targets-fixed", "30 calls/s and 3,000 targets/5 s, known; batches of 250", both, Range{Least: 250},
			perSecond(30, Fixed), targets(3000, 5*time.Second, Fixed)),
		tell("known-targets-sliding", "the same with sliding windows", both, Range{Least: 250},
			perSecond(30, Sliding), targets(3000, 5*time.Second, Sliding)),
		tell("known-calls-fixed", "30 calls/s and 3,000 targets/5 s, known; batches of 20", both, Range{Least: 20},
			perSecond(30, Fixed), targets(3000, 5*time.Second, Fixed)),
		tell("known-calls-sliding", "the same with sliding windows", both, Range{Least: 20},
			perSecond(30, Sliding), targets(3000, 5*time.Second, Sliding)),
		minute("known-minute-fixed", "6,000 targets/min, known; batches of 300 to 330, which do not fill it", Fixed),
		minute("known-minute-sliding", "the same with sliding windows", Sliding),
		coded,
	}
}

// learnCalls are quotas of calls that the gate has to find out.
func learnCalls() []Scenario {
	learn := func(name, about string, limit Limit, bands ...[]Band) Scenario {
		all := slices.Concat(bands...)
		return Scenario{
			Name: name, About: about, Quota: "auto", Link: link(limit), Fleet: three(Range{Least: 100}),
			Length: all[len(all)-1].To, Bands: all,
		}
	}
	twenty := func(kind Kind) Limit { return perSecond(20, kind) }
	learnt := between(15, 45, 0.95, 0.05)
	list := []Scenario{
		learn("auto-20-fixed", "20 calls/s, learned, fixed windows", twenty(Fixed), learnt),
		learn("auto-20-sliding", "20 calls/s, learned, sliding window", twenty(Sliding), learnt),
		learn("auto-20-bucket", "20 calls/s, learned, token bucket", twenty(Bucket), learnt),
		learn("auto-10-fixed", "10 calls/s, learned: the vendor's smallest plan", perSecond(10, Fixed), learnt),
		learn("auto-100-fixed", "100 calls/s, learned: the vendor's default", perSecond(100, Fixed), learnt),
	}
	for _, kind := range []Kind{Fixed, Sliding, Bucket} {
		list = append(
			list,
			learn("auto-halved-"+string(kind), "20 calls/s, learned, 10 from 30 s on", twenty(kind).from(30*time.Second, 10),
				between(15, 30, 0.95, 0.05), between(40, 70, 0.95, 0.05)),
			learn("auto-doubled-"+string(kind), "20 calls/s, learned, 40 from 30 s on", twenty(kind).from(30*time.Second, 40),
				between(15, 30, 0.95, 0.05), between(60, 90, 0.90, 0.05)),
		)
	}
	list = append(list,
		learn("auto-quarter", "40 calls/s, learned, 10 from 30 s on", perSecond(40, Sliding).from(30*time.Second, 10),
			between(15, 30, 0.95, 0.05), between(45, 75, 0.90, 0.05)),
		learn("auto-down-and-up", "100 calls/s, learned, 50 from 30 s to 60 s", perSecond(100, Fixed).from(30*time.Second, 50).from(time.Minute, 100),
			between(15, 30, 0.95, 0.05), between(40, 60, 0.95, 0.05), between(90, 110, 0.90, 0.05)),
	)
	many := learn("auto-100-many-workers", "100 calls/s, learned by 16 workers", perSecond(100, Sliding), learnt)
	many.Fleet.Workers, many.Fleet.Places = 16, 2
	one := learn("auto-100-one-worker", "100 calls/s, learned by a single worker", perSecond(100, Sliding), learnt)
	one.Fleet.Workers, one.Fleet.Places = 1, 32
	charged := learn("auto-20-charged", "20 calls/s, learned, sliding window that counts refused calls too", twenty(Sliding), between(15, 45, 0.65, 0.05))
	charged.Link.Limits[0].ChargeRefused = true
	told := learn("auto-20-told", "20 calls/s, learned; refused calls are told to wait a second", twenty(Fixed), between(15, 45, 0.65, 0.08))
	told.Link.RetryAfter = time.Second
	return append(list, many, one, charged, told)
}

// learnTargets are quotas of targets that the gate has to find out.
func learnTargets() []Scenario {
	learn := func(name, about string, batch Range, limits ...Limit) Scenario {
		return Scenario{Name: name, About: about, Quota: "auto", Link: link(limits...), Fleet: three(batch)}
	}
	tens := func(name, about string, limit Limit) Scenario {
		s := learn(name, about, Range{Least: 250}, limit)
		s.Length, s.Bands = 130*time.Second, between(30, 130, 0.90, 0.06)
		return s
	}
	ten := targets(3000, 10*time.Second, Fixed)
	early, late := ten, ten
	early.Phase, late.Phase = 500*time.Millisecond, 9*time.Second
	minutes := func(s Scenario) Scenario {
		s.Length, s.Bands = 7*time.Minute, between(180, 420, 0.88, 0.06)
		return s
	}
	groups := learn("auto-groups", "20 calls/s and 20 targets/s for groups, learned; 600 targets are offered at a time", Range{Least: 600},
		perSecond(20, Fixed), targets(20, time.Second, Fixed))
	groups.Groups, groups.Length, groups.Bands = true, 75*time.Second, between(30, 75, 0.85, 0.07)
	return []Scenario{
		tens("auto-targets-fixed", "3,000 targets/10 s, learned, fixed windows", ten),
		tens("auto-targets-early", "the same, the first window ends after half a second", early),
		tens("auto-targets-late", "the same, the first window ends after nine seconds", late),
		tens("auto-targets-sliding", "3,000 targets/10 s, learned, sliding window", targets(3000, 10*time.Second, Sliding)),
		minutes(learn("auto-minute-fixed", "6,000 targets/min, learned, fixed windows", Range{Least: 250}, targets(6000, time.Minute, Fixed))),
		minutes(learn("auto-minute-sliding", "6,000 targets/min, learned, sliding window", Range{Least: 250}, targets(6000, time.Minute, Sliding))),
		minutes(learn("auto-vendor", "100 calls/s and 6,000 targets/min, learned: the vendor's default", Range{300, 330},
			perSecond(100, Fixed), targets(6000, time.Minute, Fixed))),
		groups,
	}
}
