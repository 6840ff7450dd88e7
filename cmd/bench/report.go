package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// report is all that was measured.
type report struct {
	targets      int
	names        kind
	workers      int
	appendOnly   bool
	cpus         int
	redisVersion string

	crier  []column
	bare   []bareRound
	fewest int64 // calls
	urgent urgentCost
	packed int64 // bytes of the list as packer makes it
	packer string

	commands []string // of the first round
}

// column is Crier with one quota.
type column struct {
	quota  string
	rounds []crierRound
}

// number is what can be measured.
type number interface{ ~int64 | ~float64 }

// median of one figure of all rounds; of an even number, the mean of the two
// in the middle.
func median[R any, N number](rounds []R, figure func(R) N) N {
	sorted := figures(rounds, figure)
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

func figures[R any, N cmp.Ordered](rounds []R, figure func(R) N) []N {
	list := make([]N, 0, len(rounds))
	for _, r := range rounds {
		list = append(list, figure(r))
	}
	slices.Sort(list)
	return list
}

// table is rows of cells: the first left-aligned, the others right-aligned.
type table [][]string

func (t *table) row(cells ...string) { *t = append(*t, cells) }

func (t table) String() string {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for _, row := range t {
		line := ""
		for i, cell := range row {
			if i == 0 {
				line = fmt.Sprintf("%-*s", widths[0], cell)
			} else {
				line += fmt.Sprintf("  %*s", widths[i], cell)
			}
		}
		text.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return text.String()
}

// line adds a row with a figure of Crier's rounds, and at the end the bare loop's.
func (r *report) line(t *table, name string, crier func([]crierRound) string, bare string) {
	cells := []string{name}
	for _, c := range r.crier {
		cells = append(cells, crier(c.rounds))
	}
	t.row(append(cells, bare)...)
}

// of makes the cell of one figure's median.
func of[R any, N number](figure func(R) N, show func(N) string) func([]R) string {
	return func(rounds []R) string { return show(median(rounds, figure)) }
}

// spread makes the cell of its least and most.
func spread[R any, N number](figure func(R) N, show func(N) string) func([]R) string {
	return func(rounds []R) string {
		sorted := figures(rounds, figure)
		return show(sorted[0]) + "-" + show(sorted[len(sorted)-1])
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
func mebibytes(n int64) string       { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
func ratio(n float64) string         { return fmt.Sprintf("%.2f", n) }
func integer(n int64) string         { return strconv.FormatInt(n, 10) }

// peak makes the cell of the median peak of a part.
func peak[R any](part func(R) usage) func([]R) string {
	return func(rounds []R) string {
		text := mebibytes(median(rounds, func(r R) int64 { return part(r).peak }))
		if slices.ContainsFunc(rounds, func(r R) bool { return part(r).atMost }) {
			return "<=" + text
		}
		return text
	}
}

func enqueueOf(r crierRound) usage { return r.enqueue }
func workerOf(r crierRound) usage  { return r.worker }
func redisOf(r crierRound) usage   { return r.redis }
func bareOf(r bareRound) usage     { return r.usage }

// cpuOf is the processor time of one part of a round.
func cpuOf[R any](part func(R) usage) func(R) time.Duration {
	return func(r R) time.Duration { return part(r).cpu }
}

// ratios are those of Crier to the bare loop of the same round.
func (r *report) ratios(rounds []crierRound) []float64 {
	list := make([]float64, 0, len(rounds))
	for i, round := range rounds {
		list = append(list, round.cpu().Seconds()/r.bare[i].cpu.Seconds())
	}
	return list
}

func (r *report) table() table {
	var t table
	head, quotas := []string{""}, []string{"CHAT_QUOTA"}
	for _, c := range r.crier {
		head, quotas = append(head, "Crier"), append(quotas, c.quota)
	}
	t.row(append(head, "bare loop")...)
	t.row(quotas...)

	bareCPU := median(r.bare, cpuOf(bareOf))
	t.row("CPU seconds, user and system")
	r.line(&t, "  enqueue", of(cpuOf(enqueueOf), seconds), "")
	r.line(&t, "  worker", of(cpuOf(workerOf), seconds), "")
	r.line(&t, "  redis", of(cpuOf(redisOf), seconds), "")
	r.line(&t, "  sum", of(crierRound.cpu, seconds), seconds(bareCPU))
	r.line(&t, "  sum, least-most", spread(crierRound.cpu, seconds), spread(cpuOf(bareOf), seconds)(r.bare))
	r.line(&t, "  sum / bare loop", func(rounds []crierRound) string {
		return ratio(median(rounds, crierRound.cpu).Seconds() / bareCPU.Seconds())
	}, ratio(1))

	r.line(&t, "  of each round, least-most", func(rounds []crierRound) string {
		return spread(func(of float64) float64 { return of }, ratio)(r.ratios(rounds))
	}, "")

	t.row("peak resident memory, MiB")
	r.line(&t, "  enqueue", peak(enqueueOf), "")
	r.line(&t, "  worker", peak(workerOf), "")
	r.line(&t, "  redis", peak(redisOf), "")
	r.line(&t, "  bare loop", func([]crierRound) string { return "" }, peak(bareOf)(r.bare))

	r.line(&t, "Redis commands", of(func(r crierRound) int64 { return r.commands }, integer), "")
	r.line(&t, "Redis network, MiB", of(func(r crierRound) int64 { return r.network }, mebibytes), "")
	t.row("time by the clock, seconds")
	r.line(&t, "  loading", of(func(r crierRound) time.Duration { return r.load }, seconds), "")
	r.line(&t, "  delivery", of(func(r crierRound) time.Duration { return r.delivery }, seconds),
		of(func(r bareRound) time.Duration { return r.took }, seconds)(r.bare))

	calls := func(r crierRound) int64 { return r.calls }
	r.line(&t, "calls", of(calls, integer), of(func(r bareRound) int64 { return r.calls }, integer)(r.bare))
	r.line(&t, "  / fewest possible ("+integer(r.fewest)+")", func(rounds []crierRound) string {
		return fmt.Sprintf("%.4f", float64(median(rounds, calls))/float64(r.fewest))
	}, "")
	return t
}

// write writes the report.
func (r *report) write(out io.Writer) error {
	appendOnly := "without"
	if r.appendOnly {
		appendOnly = "with"
	}
	var all []crierRound
	for _, c := range r.crier {
		all = append(all, c.rounds...)
	}
	waiting := median(all, func(r crierRound) int64 { return r.waiting })
	each := func(n int64) float64 { return float64(n) / float64(r.targets) }

	var text strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&text, format, args...) }
	say("%d names of %d bytes: %s (%s); message txt %q\n", r.targets, nameLength, r.names, r.names.about(), messageText)
	say("workers: %d (CPU of all together, memory of the largest); rounds: %d (medians below); %d CPUs; %s; %s append-only file\n\n%s\n", r.workers, len(r.bare), r.cpus, r.redisVersion, appendOnly, r.table())
	say("Waiting job in Redis: %.2f bytes a target (used_memory before and after loading). %s makes %.2f of the list: ratio %.3f.\n",
		each(waiting), r.packer, each(r.packed), float64(waiting)/float64(r.packed))
	say("Finished urgent job of one target: %.0f bytes (used_memory over %d jobs); its own %d keys take %d (MEMORY USAGE).\n\n",
		r.urgent.grown, r.urgent.jobs, r.urgent.keys, r.urgent.bytes)
	say("Whole processes are counted, from start to end; Redis (INFO cpu) from before loading until the worker has ended.\n")
	say("Redis commands are those of scripts, too; its network is in and out.\n")
	say("Not counted: chatsim, enqueue wait, and bench itself, which looks at Redis now and then. <= is bench's own peak, which hides a smaller one.\n")
	say("Delivery begins with the start of the worker, or of the bare loop, which also reads the list meanwhile.\n\n")
	say("The commands of the first round, in this order; loading ends before the worker starts:\n")
	for _, command := range r.commands {
		say("  %s\n", command)
	}
	_, err := io.WriteString(out, text.String())
	return err
}
