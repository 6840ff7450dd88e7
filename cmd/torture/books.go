package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"crier/internal/chatsim"
)

// violation is a way in which books do not balance.
type violation string

const (
	gone        violation = "jobs that are not known any more"
	notEnded    violation = "jobs that have not ended"
	badSum      violation = "jobs whose counts do not sum up to their total"
	badCounts   violation = "jobs whose counts are not those of their rows"
	foreign     violation = "rows of targets that were not submitted"
	repeated    violation = "targets with two rows"
	missing     violation = "targets without a row"
	notSettled  violation = "rows that are neither sent nor failed nor unknown"
	notSent     violation = "targets that are sent and were never delivered to"
	deliveredTo violation = "targets that are failed and were delivered to"
	failedGood  violation = "targets that failed and are good"
	takenBad    violation = "targets that the API refuses and that have not failed"
	unknownHere violation = "unknown targets of jobs that send again"
	heldTwice   violation = "targets of hold jobs that were delivered to twice"
	notTold     violation = "deliveries that came twice and are not counted as resent"
	noCause     violation = "deliveries that came twice for no lost answer, beyond what calamities may explain"
	stranger    violation = "deliveries to targets that nobody has submitted"
)

// maxExamples is how many of a kind are told one by one.
const maxExamples = 3

// api is what the simulated API knows of deliveries.
type api interface {
	Delivered(chatsim.TargetType, string) int
	Lost(chatsim.TargetType, string) int
}

// books compare what Crier says of each target with what the API has accepted.
type books struct {
	api api
	// lossy: Redis may lose what it has said to be written; then calls may come
	// twice without being told.
	lossy bool

	counts   map[violation]int
	examples map[violation][]string
	faults   []error // that are not of the books

	jobs    int
	sum     status // of all jobs
	again   int    // deliveries beyond the first
	causes  int    // of these, those after a lost answer of the same target
	doubted int    // how many the others may be
	excused int    // with lossy: what would be violations else
}

func newBooks(a api, lossy bool) *books {
	return &books{api: a, lossy: lossy, counts: map[violation]int{}, examples: map[violation][]string{}}
}

// wrong notes n violations of a kind.
func (b *books) wrong(v violation, n int, format string, args ...any) {
	if n <= 0 {
		return
	}
	b.counts[v] += n
	if len(b.examples[v]) < maxExamples {
		b.examples[v] = append(b.examples[v], fmt.Sprintf(format, args...))
	}
}

// excusable notes them as such unless Redis may have lost what was written.
func (b *books) excusable(v violation, n int, format string, args ...any) {
	if b.lossy {
		b.excused += max(n, 0)
		return
	}
	b.wrong(v, n, format, args...)
}

// row is what is read of a result row.
type row struct {
	Target  string `json:"target"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
}

// readRows reads result rows as a stream.
func readRows(from io.Reader) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		lines := bufio.NewScanner(from)
		for lines.Scan() {
			var r row
			if err := json.Unmarshal(lines.Bytes(), &r); !yield(r, err) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(row{}, err)
		}
	}
}

// audit compares the books of one job.
func (b *books) audit(j job, s status, rows iter.Seq2[row, error]) error {
	b.jobs++
	if s.State != "finished" || s.Pending != 0 {
		b.wrong(notEnded, 1, "%s is %s with %d pending", j.id, s.State, s.Pending)
	}
	if s.Total != int64(j.total) || s.Total != s.Pending+s.Sent+s.Failed+s.Unknown+s.Cancelled {
		b.wrong(badSum, 1, "%s: %d submitted; %+v", j.id, j.total, s)
	}
	seen, outcomes, again, rowCount := make([]bool, j.total), map[string]int64{}, 0, 0
	for r, err := range rows {
		if err != nil {
			return err
		}
		outcomes[r.Outcome]++
		n, ok := j.index(r.Target)
		switch {
		case !ok:
			b.wrong(foreign, 1, "%s: %s", j.id, r.Target)
			continue
		case seen[n]:
			b.wrong(repeated, 1, "%s: %s", j.id, r.Target)
			continue
		}
		seen[n] = true
		rowCount++
		again += b.target(j, n, r)
	}
	b.wrong(missing, j.total-rowCount, "%s: %d of %d, the first is number %d", j.id, j.total-rowCount, j.total, slices.Index(seen, false))
	said := map[string]int64{"pending": s.Pending, "sent": s.Sent, "failed": s.Failed, "unknown": s.Unknown, "cancelled": s.Cancelled}
	for outcome, n := range said {
		if outcomes[outcome] != n {
			b.wrong(badCounts, 1, "%s: %d %s, and %d such rows", j.id, n, outcome, outcomes[outcome])
		}
	}
	if !j.hold { // those of hold jobs are told target by target
		b.excusable(notTold, again-int(s.Resent), "%s: %d came twice, %d are resent", j.id, again, s.Resent)
	}
	b.again += again
	b.sum.Total, b.sum.Sent, b.sum.Failed = b.sum.Total+s.Total, b.sum.Sent+s.Sent, b.sum.Failed+s.Failed
	b.sum.Unknown, b.sum.Resent = b.sum.Unknown+s.Unknown, b.sum.Resent+s.Resent
	return nil
}

// target compares what is known of one target, and tells how often it was
// delivered to beyond the first time.
func (b *books) target(j job, n int, r row) (again int) {
	delivered := b.api.Delivered(chatsim.Users, r.Target)
	bad := slices.Contains(j.poison, n) || slices.Contains(j.refuse, n)
	as := func(v violation) {
		b.wrong(v, 1, "%s: %s is %s (%s), delivered %d times", j.id, r.Target, r.Outcome, r.Reason, delivered)
	}
	switch r.Outcome {
	case "sent":
		if bad {
			as(takenBad)
		}
		if delivered == 0 {
			as(notSent)
		}
	case "failed":
		if !bad {
			as(failedGood)
		}
		if delivered > 0 {
			as(deliveredTo)
		}
	case "unknown":
		if !j.hold {
			as(unknownHere)
		}
	default:
		as(notSettled)
	}
	again = max(delivered-1, 0)
	if again > 0 {
		b.causes += min(again, b.api.Lost(chatsim.Users, r.Target))
		if j.hold {
			b.excusable(heldTwice, 1, "%s: %s was delivered to %d times, and is %s (%s)", j.id, r.Target, delivered, r.Outcome, r.Reason)
		}
	}
	return again
}

// strangers looks for deliveries to targets of no job.
func (b *books) strangers(jobs []job, journal iter.Seq2[chatsim.Key, int]) {
	byID := make(map[string]job, len(jobs))
	for _, j := range jobs {
		byID[j.id] = j
	}
	for key, n := range journal {
		id, _, _ := strings.Cut(key.Target, "-") // no id has one
		if _, ok := byID[id].index(key.Target); !ok || key.TargetType != chatsim.Users {
			b.wrong(stranger, n, "%s %s", key.TargetType, key.Target)
		}
	}
}

// bound holds deliveries that came twice against what may explain them: a lost
// answer of the same target, or else a calamity between an answer and its
// record, which can be true of so many.
func (b *books) bound(inDoubt int) {
	b.doubted = inDoubt
	b.excusable(noCause, b.again-b.causes-inDoubt, "%d came twice, %d after a lost answer; calamities may explain %d", b.again, b.causes, inDoubt)
}

// violations counts them all.
func (b *books) violations() (n int) {
	for _, count := range b.counts {
		n += count
	}
	return n + len(b.faults)
}

var errBooks = errors.New("the books do not balance")
