package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// httpReport is all that was measured of the HTTP gateway.
type httpReport struct {
	load         load
	targets      int
	names        kind
	appendOnly   bool
	cpus         int
	redisVersion string

	served, without, reading []jobRound // of the same rounds
	lists                    *lists

	commands []string // of the first round
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}
func microseconds(d time.Duration) string { return integer(d.Microseconds()) }
func whole(n float64) string              { return fmt.Sprintf("%.0f", n) }

func rateOf(r jobRound) float64                        { return r.rate }
func redisCPUOf(r jobRound) time.Duration              { return r.redisCPU / time.Duration(r.jobs) }
func serverCPUOf(r jobRound) time.Duration             { return r.server.cpu / time.Duration(r.sent) }
func tookOf(r listRound) time.Duration                 { return r.took }
func listUsageOf(r listRound) usage                    { return r.usage }
func (r *httpReport) namesASecond(l listRound) float64 { return float64(r.targets) / l.took.Seconds() }

// ratiosOf are those of one figure to another of the same round.
func ratiosOf[R any, N number](rounds, to []R, figure func(R) N) []float64 {
	list := make([]float64, 0, len(rounds))
	for i, round := range rounds {
		list = append(list, float64(figure(round))/float64(figure(to[i])))
	}
	return list
}

// compared makes the cell of the median ratio, and of the least and most.
func compared[R any, N number](rounds, to []R, figure func(R) N) string {
	list := ratiosOf(rounds, to, figure)
	same := func(of float64) float64 { return of }
	return of(same, ratio)(list) + " (" + spread(same, ratio)(list) + ")"
}

// jobTable is about jobs of one target.
func (r *httpReport) jobTable() table {
	var t table
	line := func(name string, cell func([]jobRound) string) {
		t.row(name, cell(r.served), cell(r.without), cell(r.reading))
	}
	t.row("", "enqueue serve", "without Redis", "only reading")
	line("jobs a second", of(rateOf, whole))
	line("  least-most", spread(rateOf, whole))
	t.row("  / without Redis (least-most of the rounds)", compared(r.served, r.without, rateOf), ratio(1), compared(r.reading, r.without, rateOf))
	line("latency ms, p50", of(func(r jobRound) time.Duration { return r.p50 }, milliseconds))
	line("  p99", of(func(r jobRound) time.Duration { return r.p99 }, milliseconds))
	line("CPU microseconds a job, server", of(serverCPUOf, microseconds))
	t.row("  / without Redis", compared(r.served, r.without, serverCPUOf), ratio(1), compared(r.reading, r.without, serverCPUOf))
	t.row("  Redis", of(redisCPUOf, microseconds)(r.served), "", "")
	line("peak of the server, MiB", peak(func(r jobRound) usage { return r.server }))
	t.row("Redis round trips of a job", of(func(r jobRound) float64 { return r.reads }, ratio)(r.served), of(jobRound.tripsOfJob, ratio)(r.without), "")
	return t
}

// tripTable lists the round trips of a job, as the Redis in memory has counted them in the first round.
func (r *httpReport) tripTable() table {
	var t table
	first := r.without[0]
	for _, name := range slices.Sorted(maps.Keys(first.trips)) {
		t.row("  "+name, ratio(float64(first.trips[name])/float64(first.jobs)))
	}
	return t
}

// listTable is about one long list.
func (r *httpReport) listTable() table {
	var t table
	text, packed, send := r.lists.text, r.lists.packed, r.lists.send
	t.row("", "serve, text", "serve, gzip", "enqueue send")
	t.row("MiB of the list", mebibytes(text.bytes), mebibytes(packed.bytes), mebibytes(text.bytes))
	line := func(name string, cell func([]listRound) string) {
		t.row(name, cell(text.rounds), cell(packed.rounds), cell(send))
	}
	line("seconds by the clock", of(tookOf, seconds))
	starting := of(func(r listRound) time.Duration { return r.start }, seconds)
	t.row("  of these, until it is started", starting(text.rounds), starting(packed.rounds), "")
	line("names a second", of(r.namesASecond, whole))
	t.row("  / enqueue send (least-most of the rounds)", compared(text.rounds, send, r.namesASecond), compared(packed.rounds, send, r.namesASecond), ratio(1))
	reading := func(l encodedList) string { return of(tookOf, seconds)(l.reading) }
	t.row("seconds to only read it", reading(text), reading(packed), "")
	t.row("  taking it in / only reading", compared(text.rounds, text.reading, tookOf), compared(packed.rounds, packed.reading, tookOf), "")
	line("CPU seconds of the program", of(cpuOf(listUsageOf), seconds))
	line("peak of the program, MiB", peak(listUsageOf))
	t.row("  of one that only reads", peak(listUsageOf)(text.reading), peak(listUsageOf)(packed.reading), "")
	return t
}

// write writes the report.
func (r *httpReport) write(out io.Writer) error {
	appendOnly := "without"
	if r.appendOnly {
		appendOnly = "with"
	}
	var text strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&text, format, args...) }
	say("rounds: %d (medians below); %d CPUs; %s; %s append-only file\n\n", len(r.served), r.cpus, r.redisVersion, appendOnly)
	say("%d urgent jobs of one target, POST /v1/jobs from %d clients, each one after the other on a connection that is kept:\n\n%s\n",
		r.served[0].jobs, r.load.Clients, r.jobTable())
	say("Round trips of a job by what is asked, a comma within a pipeline:\n%s\n", r.tripTable())
	say("Redis itself counts %s reads and %s commands for each job (INFO stats: total_reads_processed, total_commands_processed), commands of scripts among them.\n\n",
		of(func(r jobRound) float64 { return r.reads }, ratio)(r.served), of(func(r jobRound) float64 { return r.commands }, ratio)(r.served))
	say("A list of %d names of %d bytes, %s (%s), POST /v1/jobs/{id}/targets, then start:\n\n%s\n", r.targets, nameLength, r.names, r.names.about(), r.listTable())
	say("Without Redis: bench gateway, the same handler and server as a process of its own, whose go-redis client is answered from memory.\n")
	say("Only reading: the same process, which reads the body, unpacks it, and answers 202. The load is made by bench itself, on the same CPUs.\n")
	say("Every 202 was found as a job with its token, and every list with all its targets. No worker runs. CPU is that of whole processes, from start to end;\n")
	say("of Redis, of what was measured. The time of enqueue send is that of the whole program. <= is bench's own peak, which hides a smaller one.\n\n")
	say("The commands of the first round, in this order:\n")
	for _, command := range r.commands {
		say("  %s\n", command)
	}
	_, err := io.WriteString(out, text.String())
	return err
}
