package apiclient

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"sync"
)

// request returns a request for f, and its body.
func (s *files) request(f Upload, token string) (*fileBody, *http.Request, error) {
	if _, err := f.Content.Seek(0, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("reading the file: %w", err)
	}
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	_, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("file", f.Name)},
		"Content-Type":        {cmp.Or(f.ContentType, "application/octet-stream")},
	})
	head := frame.Len()
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		return nil, nil, err
	}
	body := &fileBody{content: f.Content, left: f.Size}
	body.all = io.MultiReader(bytes.NewReader(frame.Bytes()[:head]), readFunc(body.readContent), bytes.NewReader(frame.Bytes()[head:]))
	request, err := http.NewRequest(http.MethodPost, s.url, body) //nolint:noctx // put gives it one
	if err != nil {
		return nil, nil, err
	}
	request.ContentLength = int64(frame.Len()) + f.Size
	request.Header.Set("Content-Type", form.FormDataContentType())
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "crier")
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("restrict-access", "true") // CHAT-API: "Files"
	return body, request, nil
}

// fileBody is the body of one attempt, which streams the file. Net/http may
// still read from it when it has given the answer; after Close nobody touches
// the file any more.
type fileBody struct {
	mu      sync.Mutex
	all     io.Reader // nil = closed
	content io.Reader
	left    int64 // bytes of the content that are still to be read
	failed  error // what went wrong with the file
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (b *fileBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		return 0, io.ErrClosedPipe
	}
	return b.all.Read(p)
}

// readContent gives as many bytes as the request has announced, also of a file
// that grows; one that has shrunk is a fault.
func (b *fileBody) readContent(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.content.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && b.left > 0:
		b.failed = fmt.Errorf("reading the file: %w: %d bytes are missing", io.ErrUnexpectedEOF, b.left)
	case err != nil && !errors.Is(err, io.EOF):
		b.failed = fmt.Errorf("reading the file: %w", err)
	default:
		return n, nil
	}
	return n, b.failed
}

func (b *fileBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = nil
	return nil
}
