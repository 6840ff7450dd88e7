package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"crier/internal/tasks"
)

// places are how many submissions of a size may be held in memory at a time.
type places struct {
	free    chan struct{}
	waiting atomic.Int32 // submissions that wait for one
}

func newPlaces(n int) *places { return &places{free: make(chan struct{}, n)} }

// patience is how long a submission waits for a place.
const patience = time.Minute

func (p *places) take(ctx context.Context) error {
	select {
	case p.free <- struct{}{}:
		return nil
	default:
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case p.free <- struct{}{}:
		return nil
	case <-waiting.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return problem(http.StatusServiceUnavailable, "%d submissions of this size are being taken in already; nothing was stored", cap(p.free)).again(later)
	}
}

func (p *places) give() { <-p.free }

// What makes a submission hold a place: so many bytes of its body, or so many
// targets. Below that it takes hardly any memory.
const (
	middlingBody = 64 << 10
	largeBody    = 4 << 20
	loadCheck    = 10_000 // targets: a middling one; and from there on, between two looks at how Redis is
)

// load keeps one submission within bounds while it is read and stored. End it.
type load struct {
	g       *Gateway
	ctx     context.Context
	plan    bool      // nothing is to be stored
	held    []*places // none, middling, or middling and large
	checked int       // targets at the last look at Redis
}

func (g *Gateway) newLoad(ctx context.Context) *load { return &load{g: g, ctx: ctx} }

// small reports whether the submission holds no place.
func (l *load) small() bool { return len(l.held) == 0 }

// awaited reports whether others wait for what it holds.
func (l *load) awaited() bool {
	for _, p := range l.held {
		if p.waiting.Load() > 0 {
			return true
		}
	}
	return false
}

// grow takes the places of a size that it has not taken yet.
func (l *load) grow(large bool) error {
	sizes := []*places{l.g.middling, l.g.large}
	if !large {
		sizes = sizes[:1]
	}
	for len(l.held) < len(sizes) {
		next := sizes[len(l.held)]
		if err := next.take(l.ctx); err != nil {
			return err
		}
		l.held = append(l.held, next)
	}
	return nil
}

func (l *load) end() {
	if len(l.held) == 2 {
		l.g.freeing.Do(debug.FreeOSMemory) // what tells millions of names apart is of no more use
	}
	for _, p := range l.held {
		p.give()
	}
}

// progress is told how many targets there are.
func (l *load) progress(n int) error {
	if most := l.g.cfg.MaxTargets; n > most {
		return invalid("target", "are more than %d, which is what one job may have", most)
	}
	if n-l.checked < loadCheck {
		return nil
	}
	l.checked = n
	if err := l.grow(n > l.g.cfg.LargeList); err != nil {
		return err
	}
	return l.admit()
}

// admit waits until Redis has room for more.
func (l *load) admit() error {
	if l.plan {
		return nil
	}
	return l.g.pressure.admit(l.ctx)
}

// stream is the body of the request, which may take as long as enough of it comes.
func (l *load) stream() io.Reader {
	x := exchangeOf(l.ctx)
	return &weighed{load: l, Reader: &body{
		Reader: http.MaxBytesReader(x.w, x.r.Body, l.g.cfg.MaxBody), load: l,
		control: http.NewResponseController(x.w), idle: l.g.cfg.IdleTimeout,
	}}
}

// weighed is the body of a request that takes the places which its size calls for.
type weighed struct {
	io.Reader
	load *load
	read int
}

// Read reads on.
func (w *weighed) Read(p []byte) (int, error) {
	if w.read > middlingBody {
		if err := w.weigh(); err != nil {
			return 0, err
		}
	}
	n, err := w.Reader.Read(p)
	w.read += n
	return n, err
}

func (w *weighed) weigh() error {
	if w.load.small() { // no code to one user is as long
		if err := w.load.admit(); err != nil {
			return err
		}
	}
	return w.load.grow(w.read > largeBody)
}

// reading is a function of package tasks that reads a document.
type reading = func(io.Reader) (tasks.Document, error)

// read reads the one document in the body of the request, which may be packed.
func (l *load) read(key KeyHeader, read reading) (tasks.Document, error) {
	if err := l.g.pressure.answers(); err != nil {
		return tasks.Document{}, err
	}
	packed, err := isPacked(exchangeOf(l.ctx).r)
	if err != nil {
		return tasks.Document{}, err
	}
	text := l.stream()
	if packed {
		unpacked, err := gzip.NewReader(text)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // nothing came at all
		}
		if err != nil {
			return tasks.Document{}, packedError(err)
		}
		text = &packedBody{unpacked}
	}
	d, err := read(text)
	if err == nil {
		d.ID, err = key.id(d.ID)
	}
	if err == nil && !d.Options.Urgent { // a code to one user is worth what room is left
		err = l.admit()
	}
	return d, err
}
