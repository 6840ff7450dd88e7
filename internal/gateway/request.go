package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"crier/internal/tasks"
)

// exchange is one request and its answer, for handlers that stream.
type exchange struct {
	w http.ResponseWriter
	r *http.Request
}

type exchangeKey struct{}

func withExchange(w http.ResponseWriter, r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), exchangeKey{}, exchange{w, r}))
}

func exchangeOf(ctx context.Context) exchange {
	return ctx.Value(exchangeKey{}).(exchange) // the middleware of every request puts it there
}

// body is the body of a request, as it comes. A client that sends too little for
// too long is given up; the time that nobody reads does not count.
type body struct {
	io.Reader
	control  *http.ResponseController
	idle     time.Duration
	deadline time.Time // for the next enough bytes
	set      time.Time // the deadline that the connection has
	left     time.Time // when it was last read
	got      int       // bytes since the deadline was last moved on
}

// deadlines is how many are set within the idle time at most: setting one is not free.
const deadlines = 30

// enough is how many bytes a client has to send within the idle time.
const enough = 1 << 10

// Read reads on. Its errors but io.EOF are a *bodyError.
func (b *body) Read(p []byte) (int, error) {
	often := b.idle / deadlines
	now := time.Now()
	if b.deadline.IsZero() || b.got >= enough {
		b.deadline, b.got = now.Add(b.idle), 0
	} else {
		b.deadline = b.deadline.Add(now.Sub(b.left))
	}
	if b.deadline.Sub(b.set).Abs() >= often {
		if err := b.control.SetReadDeadline(b.deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, &bodyError{err}
		}
		b.set = b.deadline
	}
	n, err := b.Reader.Read(p)
	b.got += n
	b.left = time.Now()
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

// stream is the body of a request that may take as long as it keeps coming.
func (g *Gateway) stream(ctx context.Context) *body {
	x := exchangeOf(ctx)
	return &body{
		Reader: http.MaxBytesReader(x.w, x.r.Body, g.cfg.MaxBody), control: http.NewResponseController(x.w), idle: g.cfg.IdleTimeout,
	}
}

// load keeps one submission within bounds. End it.
type load struct {
	g       *Gateway
	ctx     context.Context
	plan    bool // nothing is to be stored
	large   bool // it has a place among the large ones
	checked int  // targets at the last look at Redis
}

func (g *Gateway) newLoad(ctx context.Context) *load { return &load{g: g, ctx: ctx} }

// loadCheck is how many targets come between two looks at how Redis is.
const loadCheck = 10_000

// progress is told how many targets there are.
func (l *load) progress(n int) error {
	if most := l.g.cfg.MaxTargets; n > most {
		return invalid("target", "are more than %d, which is what one job may have", most)
	}
	if n-l.checked < loadCheck {
		return nil
	}
	l.checked = n
	if n > l.g.cfg.LargeList {
		if err := l.grow(); err != nil {
			return err
		}
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

// patience is how long a large list waits for others.
const patience = time.Minute

// grow waits for a place among the large lists, unless it has one.
func (l *load) grow() error {
	if l.large {
		return nil
	}
	waiting, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	select {
	case l.g.large <- struct{}{}:
		l.large = true
		return nil
	case <-waiting.Done():
		if l.ctx.Err() != nil {
			return l.ctx.Err()
		}
		return problem(http.StatusServiceUnavailable, "%d large lists are being taken in already; nothing was stored", l.g.cfg.Large).again(later)
	}
}

func (l *load) end() {
	if l.large {
		debug.FreeOSMemory() // what tells millions of names apart is of no more use
		<-l.g.large
	}
}

// read reads the one document in the body of a request, which may be packed.
func (l *load) read(key KeyHeader, read reading) (tasks.Document, error) {
	if err := l.g.pressure.answers(); err != nil {
		return tasks.Document{}, err
	}
	var text io.Reader = &weighed{Reader: l.g.stream(l.ctx), load: l}
	switch encoding := exchangeOf(l.ctx).r.Header.Get("Content-Encoding"); strings.ToLower(encoding) {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(text)
		if err == io.EOF { //nolint:errorlint // what wraps io.EOF is a break
			err = io.ErrUnexpectedEOF // nothing came at all
		}
		if err != nil {
			return tasks.Document{}, packedError(err)
		}
		text = &packedBody{unpacked}
	default:
		return tasks.Document{}, problem(http.StatusUnsupportedMediaType, "Content-Encoding: %.40q is neither gzip nor identity", encoding)
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

// weighed is the body of a request that counts as large from largeBody bytes on.
type weighed struct {
	io.Reader
	load *load
	read int
}

const largeBody = 4 << 20

// Read reads on.
func (w *weighed) Read(p []byte) (int, error) {
	if w.read > largeBody {
		if err := w.load.grow(); err != nil {
			return 0, err
		}
	}
	n, err := w.Reader.Read(p)
	w.read += n
	return n, err
}

// packedBody calls faults of gzip data what they are.
type packedBody struct{ *gzip.Reader }

func (p *packedBody) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	return n, packedError(err)
}

func packedError(err error) error {
	var broken *bodyError
	if err == nil || err == io.EOF || errors.As(err, &broken) { //nolint:errorlint // what wraps io.EOF is a break
		return err
	}
	return &bodyError{fmt.Errorf("gzip: %w", err)}
}
