package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"crier/internal/ledger"
	"crier/internal/redisconn"
)

// lists are the ways to take in the same list of names.
type lists struct {
	text, packed encodedList
	send         []listRound // enqueue send of the text
}

// encodedList is the list as a request has it.
type encodedList struct {
	path, encoding string
	bytes          int64
	rounds         []listRound // by the gateway
	reading        []listRound // only read, by the same server
}

// listRound is the list taken in once.
type listRound struct {
	took  time.Duration // of the clock
	start time.Duration // of it, from all being added until the job runs; 0 = no step of its own
	usage
}

const encodingGzip = "gzip"

// makeLists writes the list twice.
func (b *bench) makeLists(ctx context.Context, names kind) (*lists, error) {
	if err := b.makeList(ctx, names); err != nil {
		return nil, err
	}
	l := &lists{text: encodedList{path: b.list}, packed: encodedList{path: b.list + ".gz", encoding: encodingGzip}}
	if err := packFile(l.packed.path, l.text.path); err != nil {
		return nil, err
	}
	for _, list := range []*encodedList{&l.text, &l.packed} {
		info, err := os.Stat(list.path)
		if err != nil {
			return nil, err
		}
		list.bytes = info.Size()
	}
	return l, nil
}

func packFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	w := gzip.NewWriter(out)
	if _, err = io.Copy(w, in); err == nil {
		err = w.Close()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// listRounds takes the list in by each way, each with a server and a Redis of its own.
func (b *bench) listRounds(ctx context.Context, l *lists) error {
	for _, list := range []*encodedList{&l.text, &l.packed} {
		taken, err := b.stream(ctx, list)
		if err != nil {
			return err
		}
		read, err := b.read(ctx, list)
		if err != nil {
			return err
		}
		list.rounds, list.reading = append(list.rounds, taken), append(list.reading, read)
	}
	sent, err := b.sendList(ctx)
	l.send = append(l.send, sent)
	return err
}

// stream adds the list to a loading job of enqueue serve and starts it.
func (b *bench) stream(ctx context.Context, l *encodedList) (r listRound, err error) {
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
	const id = "bench"
	document := fmt.Sprintf(`{"id":%q,"target_type":%q,"msg":{"type":"txt","msg":%q}}`, id, targetType, messageText)
	begin, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+"/v1/jobs", strings.NewReader(document))
	if err != nil {
		return r, err
	}
	if err := d.do(begin, http.StatusAccepted, nil); err != nil {
		return r, err
	}
	var sum struct {
		Added int `json:"added"`
		Total int `json:"total"`
	}
	began := time.Now()
	if err := d.post(ctx, l, "/v1/jobs/"+id+"/targets", http.StatusOK, &sum); err != nil {
		return r, err
	}
	added := time.Now()
	if sum.Added != b.targets || sum.Total != b.targets {
		return r, fmt.Errorf("of %d targets, %d were added, %d are in the job", b.targets, sum.Added, sum.Total)
	}
	start, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+"/v1/jobs/"+id+"/start", http.NoBody)
	if err != nil {
		return r, err
	}
	if err := d.do(start, http.StatusAccepted, nil); err != nil {
		return r, err
	}
	r.took, r.start = time.Since(began), time.Since(added)
	if err := s.runs(ctx, id, b.targets); err != nil {
		return r, err
	}
	r.usage, err = d.stop()
	return r, err
}

// post sends the list as the body of a request.
func (d *door) post(ctx context.Context, l *encodedList, path string, want int, answer any) error {
	file, err := os.Open(l.path)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+path, file) // which closes it
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/plain")
	if l.encoding != "" {
		request.Header.Set("Content-Encoding", l.encoding)
	}
	return d.do(request, want, answer)
}

// read has the yardstick read the list.
func (b *bench) read(ctx context.Context, l *encodedList) (r listRound, err error) {
	d, err := b.withoutRedis()
	if err != nil {
		return r, err
	}
	defer d.close()
	began := time.Now()
	if err := d.post(ctx, l, pathRead, http.StatusAccepted, nil); err != nil {
		return r, err
	}
	r.took = time.Since(began)
	r.usage, err = d.stop()
	return r, err
}

// sendList loads the list by enqueue send.
func (b *bench) sendList(ctx context.Context) (r listRound, err error) {
	s, err := openStore(ctx, b.programs, b.aof)
	if err != nil {
		return r, err
	}
	defer s.close()
	const id = "bench"
	send := b.send(ctx, s, b.list, id)
	began := time.Now()
	if _, err := b.programs.run(send); err != nil {
		return r, err
	}
	r.took = time.Since(began)
	if err := s.runs(ctx, id, b.targets); err != nil {
		return r, err
	}
	r.usage, err = usageOf(send.ProcessState)
	return r, err
}

// runs fails unless a job runs with so many targets.
func (s *site) runs(ctx context.Context, id string, targets int) error {
	conn, err := redisconn.Open(s.redisURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it has only read
	book, err := ledger.New(conn.Client, ledger.DefaultConfig())
	if err != nil {
		return err
	}
	job, err := book.Job(ctx, id)
	if err != nil {
		return err
	}
	if job.State != ledger.StateRunning || job.Total != int64(targets) || job.Pending != job.Total {
		return fmt.Errorf("%w: of %d targets the job has %d, %d of them pending; it is %s", errUnequal, targets, job.Total, job.Pending, job.State)
	}
	return nil
}
