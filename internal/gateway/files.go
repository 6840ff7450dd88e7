package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"crier/internal/apiclient"
	"crier/internal/tasks"
)

// file is an uploaded file; the first fields go into msg as they are.
type file struct {
	URL      string    `json:"url"`
	Secret   string    `json:"secret,omitempty"`
	Filename string    `json:"filename"`
	Size     *size     `json:"size,omitempty" doc:"Of a picture, in pixels."`
	Bytes    int64     `json:"bytes"`
	Uploaded time.Time `json:"uploaded_at"`
	Expires  time.Time `json:"expires_at" doc:"When the Chat API deletes it. A job that is scheduled past it is refused."`
}

type size struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

type fileQuery struct {
	Key      string `header:"Idempotency-Key" doc:"Id of the job that the file is for: the same file is then uploaded for it once."`
	Filename string `query:"filename" doc:"As receivers are shown it, where the body is the file itself."`
}

type uploaded struct{ Body file }

func (g *Gateway) registerFiles() {
	binary := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	register(g, operation{
		id: "upload-file", slow: true, method: http.MethodPost, path: "/v1/files", tag: tagFiles, summary: "Upload a file to the Chat API",
		about: "At most 10 MB, in the part `file` of a form or as the body itself. url, secret, filename and size of the answer go into msg.",
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"multipart/form-data": {Schema: &huma.Schema{
				Type: huma.TypeObject, Properties: map[string]*huma.Schema{"file": binary}, Required: []string{"file"},
			}},
			"application/octet-stream": {Schema: binary},
		}},
		success: http.StatusCreated, errors: []int{400, 408, 413, 422, 501, 502, 503},
	}, g.upload)
}

func (g *Gateway) upload(ctx context.Context, in *fileQuery) (*uploaded, error) {
	if g.Files == nil {
		return nil, problem(http.StatusNotImplemented, "files are not taken here: CHAT_ORG, CHAT_APP and CHAT_TOKEN, or CHAT_CLIENT_ID and CHAT_CLIENT_SECRET, are not set")
	}
	job, err := KeyHeader{in.Key}.id("")
	if err != nil {
		return nil, err
	}
	load := g.newLoad(ctx) // a file stays in memory until it is uploaded: it may have to be sent twice
	load.plan = true
	defer load.end()
	up, err := load.readFile(in.Filename)
	if err != nil {
		return nil, err
	}
	a, err := g.Files.Upload(ctx, job, up)
	if err != nil {
		return nil, aboutUpload(err)
	}
	f := file{URL: a.URL, Secret: a.Secret, Filename: a.Filename, Bytes: a.Bytes, Uploaded: a.Uploaded, Expires: a.Expires}
	if a.Width > 0 {
		f.Size = &size{a.Width, a.Height}
	}
	return &uploaded{f}, nil
}

// readFile reads the file in the request.
func (l *load) readFile(name string) (up apiclient.Upload, err error) {
	r, from := exchangeOf(l.ctx).r, l.stream()
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // without one it is the file itself
	switch {
	case media == "multipart/form-data":
		if from, up, err = partOf(r, from); err != nil {
			return up, err
		}
	case media != "application/x-www-form-urlencoded": // what curl says of everything
		up.ContentType = r.Header.Get("Content-Type")
	}
	if name != "" {
		up.Name = name
	}
	if up.Name = path.Base(strings.ReplaceAll(up.Name, `\`, "/")); up.Name == "." || up.Name == "/" {
		up.Name = "file"
	}
	content, err := io.ReadAll(io.LimitReader(from, apiclient.MaxFile+1))
	var bound *Problem
	switch {
	case errors.As(err, &bound):
		return up, bound
	case err != nil:
		return up, &bodyError{err} // a form may end too early by itself
	case len(content) > apiclient.MaxFile:
		return up, problem(http.StatusRequestEntityTooLarge, "the file has more than %d bytes", apiclient.MaxFile)
	case len(content) == 0:
		return up, invalid("file", "is empty")
	}
	up.Content, up.Size = bytes.NewReader(content), int64(len(content))
	return up, nil
}

// partOf finds the part of a form that holds the file.
func partOf(r *http.Request, body io.Reader) (io.Reader, apiclient.Upload, error) {
	form := r.Clone(r.Context())
	form.Body = io.NopCloser(body)
	parts, err := form.MultipartReader()
	for err == nil {
		part, next := parts.NextPart()
		if err = next; err == nil && part.FormName() == "file" {
			return part, apiclient.Upload{Name: part.FileName(), ContentType: part.Header.Get("Content-Type")}, nil
		}
	}
	if errors.Is(err, io.EOF) {
		err = invalid("file", "is required: a part of the form with this name")
	}
	var broken *bodyError
	if done := (*Problem)(nil); !errors.As(err, &broken) && !errors.As(err, &done) {
		err = problem(http.StatusBadRequest, "the form cannot be read: %v", err)
	}
	return nil, apiclient.Upload{}, err
}

// aboutUpload says what the Chat API has against a file.
func aboutUpload(err error) error {
	var refused *apiclient.Error
	switch {
	case errors.Is(err, tasks.ErrForeign):
		return problem(http.StatusBadGateway, "%v", err)
	case !errors.As(err, &refused):
		return err
	case refused.Kind == apiclient.KindTooLarge:
		return problem(http.StatusRequestEntityTooLarge, "the Chat API does not take a file of this size")
	default:
		return problem(http.StatusBadGateway, "the Chat API did not take the file: %v", refused).again(later)
	}
}
