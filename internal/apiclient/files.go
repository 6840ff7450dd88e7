package apiclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// FilesEndpoint is the name under which Observe is told of uploads.
	FilesEndpoint = "chatfiles"
	// MaxFile is the most bytes that a file may have (CHAT-API: "Files").
	MaxFile = 10 << 20
	// FileLife is how long the vendor keeps a file (CHAT-API: "Files").
	FileLife = 7 * 24 * time.Hour
)

// Upload is a file that is to be put where messages can refer to it.
type Upload struct {
	Name        string // as receivers are shown it, without folders
	ContentType string // "" = application/octet-stream
	// Content is read from its beginning, for each attempt anew.
	Content io.ReadSeeker
	Size    int64 // bytes of Content, from 1 to MaxFile
}

// File is what messages need to refer to an uploaded file.
type File struct {
	URL    string
	Secret string // with which receivers may read it; "" = it needs none
}

// String keeps the secret out of what is printed.
func (f File) String() string { return f.URL }

func (f Upload) check() *Error {
	switch {
	case f.Size <= 0:
		return &Error{Kind: KindRejected, Err: errors.New("the file is empty")}
	case f.Size > MaxFile:
		return &Error{Kind: KindTooLarge, Err: fmt.Errorf("the file has %d bytes, the limit is %d", f.Size, MaxFile)}
	}
	return nil
}

const (
	// From this long after an upload's beginning on, no further attempt begins.
	uploadPatience = 30 * time.Second
	// So many bytes are given a second on top of Config.Timeout.
	slowestUpload = 100 << 10
)

// files puts files to the API, with net/http: uploads are rare and large, so
// that what the wire saves a call is nothing here.
type files struct {
	http     *http.Client
	url      string
	timeout  time.Duration // of one attempt, beside what its bytes take
	patience time.Duration
	observe  func(endpoint string, status int, d time.Duration)
}

func newFiles(base *url.URL, timeout time.Duration, observe func(string, int, time.Duration)) *files {
	return &files{
		http: &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // never with a token
		},
		url: base.JoinPath("chatfiles").String(), timeout: timeout, patience: uploadPatience, observe: observe,
	}
}

// Upload puts a file to the API and returns where it is. What may pass is tried
// again for 30 s, also after a lost answer: a file that is there twice reaches
// nobody twice. Each attempt may take Config.Timeout and a second for each
// 100 KiB. Its error is always an *Error: KindTooLarge for a file over MaxFile,
// or over what the API takes.
func (c *Client) Upload(ctx context.Context, f Upload) (file File, err error) {
	e := f.check()
	if e == nil {
		file, e = c.upload(ctx, f)
	}
	if e != nil {
		e.Op = "upload"
		return File{}, e
	}
	return file, nil
}

// upload makes attempts until one succeeds, or none can any more.
func (c *Client) upload(ctx context.Context, f Upload) (file File, e *Error) {
	pauses := backoff.NewExponentialBackOff(backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	for {
		e = c.withToken(ctx, func(token string) (e *Error) {
			file, e = c.files.put(ctx, f, token)
			return e
		})
		if e == nil || !e.passing() {
			return file, e
		}
		pause := max(pauses.NextBackOff(), e.RetryAfter)
		if pauses.GetElapsedTime()+pause > c.files.patience {
			return File{}, e
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return File{}, e
		}
	}
}

// passing reports whether the same call may well succeed later on, as far as
// the answer tells.
func (e *Error) passing() bool {
	switch e.Kind {
	case KindThrottled, KindNoToken, KindUnavailable, KindUnknown:
		return true
	default:
		return false
	}
}

// put makes one attempt.
func (s *files) put(ctx context.Context, f Upload, token string) (File, *Error) {
	body, request, err := s.request(f, token)
	if err != nil {
		return File{}, &Error{Kind: KindRejected, Err: err}
	}
	limit := s.timeout + time.Duration(f.Size)*time.Second/slowestUpload
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v: %w", limit, context.DeadlineExceeded))
	defer cancel()
	defer func() { _ = body.Close() }() // it never fails
	began := time.Now()
	status := 0
	defer func() { s.observe(FilesEndpoint, status, time.Since(began)) }()
	response, err := s.http.Do(request.WithContext(ctx))
	if err != nil {
		return File{}, failure(ctx, body, err)
	}
	defer func() { _ = response.Body.Close() }() // what matters of it was read
	status = response.StatusCode
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	if e := classify(status, response.Header, answer, time.Now()); e != nil {
		e.clean(token)
		return File{}, e
	}
	if err != nil {
		return File{}, &Error{Kind: KindUnknown, Status: status, Err: fmt.Errorf("reading the answer: %w", cmp.Or(context.Cause(ctx), err))}
	}
	return readFile(answer, status)
}

// failure says why there was no answer.
func failure(ctx context.Context, body *fileBody, err error) *Error {
	_ = body.Close()
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	dial, ok := errors.AsType[*net.OpError](err)
	switch {
	case body.failed != nil:
		return &Error{Kind: KindRejected, Err: body.failed}
	case ctx.Err() != nil:
		return &Error{Kind: KindUnknown, Err: context.Cause(ctx)}
	case ok && (dial.Op == "dial" || dial.Op == "proxyconnect"):
		return &Error{Kind: KindUnavailable, Err: err}
	default:
		return &Error{Kind: KindUnknown, Err: err}
	}
}

// readFile reads the answer to an upload. It is kept in no error: there may be
// a secret in it.
func readFile(answer []byte, status int) (File, *Error) {
	var said struct {
		URI      string `json:"uri"`
		Entities []struct {
			UUID   string `json:"uuid"`
			Secret string `json:"share-secret"`
		} `json:"entities"`
	}
	unreadable := &Error{Kind: KindUnsupported, Status: status, Err: errors.New("the answer does not tell where the file is")}
	if json.Unmarshal(answer, &said) != nil || len(said.Entities) == 0 {
		return File{}, unreadable
	}
	file := File{URL: strings.TrimRight(said.URI, "/") + "/" + said.Entities[0].UUID, Secret: said.Entities[0].Secret}
	u, err := url.Parse(file.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !onePart(said.Entities[0].UUID) {
		return File{}, unreadable
	}
	return file, nil
}
