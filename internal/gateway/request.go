package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
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
	load     *load // nil = others do not wait for it
	control  *http.ResponseController
	idle     time.Duration
	deadline time.Time // for the next enough bytes
	set      time.Time // the deadline that the connection has
	left     time.Time // when it was last read
	got      int       // bytes since the deadline was last moved on
}

// deadlines is how many are set within the idle time at most: setting one is not free.
const deadlines = 30

const (
	enough = 1 << 10   // bytes that a client has to send within the idle time,
	hurry  = 512 << 10 // and while others wait for its place
)

// Read reads on. Its errors but io.EOF are a *bodyError.
func (b *body) Read(p []byte) (int, error) {
	often := b.idle / deadlines
	now := time.Now()
	least := enough
	if b.load != nil && b.load.awaited() {
		least = hurry
	}
	if b.deadline.IsZero() || b.got >= least {
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

// isPacked reports whether the body of a request is packed with gzip.
func isPacked(r *http.Request) (bool, error) {
	switch encoding := r.Header.Get("Content-Encoding"); strings.ToLower(encoding) {
	case "", "identity":
		return false, nil
	case "gzip":
		return true, nil
	default:
		return false, problem(http.StatusUnsupportedMediaType, "Content-Encoding: %.40q is neither gzip nor identity", encoding)
	}
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
