package tasks

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crier/internal/apiclient"
	"crier/internal/ledger"
)

// store is where files go: each upload gets another URL.
type store struct {
	uploads atomic.Int32
	names   sync.Map        // file name -> content type
	gate    *sync.WaitGroup // nil, or uploads that wait for each other
}

// attachments is a place for files, and how to get at it.
func (r *rig) attachments() (*Attachments, *store) {
	r.t.Helper()
	s := &store{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, header, err := q.FormFile("file")
		if err != nil {
			r.t.Error(err)
			return
		}
		s.names.Store(header.Filename, header.Header.Get("Content-Type"))
		if s.gate != nil {
			s.gate.Done()
			s.gate.Wait()
		}
		_, _ = fmt.Fprintf(w, `{"uri":"http://files/o/a/chatfiles","entities":[{"uuid":"%d","share-secret":"key-%d"}]}`, s.uploads.Add(1), s.uploads.Load())
	}))
	r.t.Cleanup(server.Close)
	cfg := apiclient.DefaultConfig()
	cfg.BaseURL, cfg.Org, cfg.App, cfg.Tokens = server.URL, "o", "a", apiclient.FixedToken("token")
	client, err := apiclient.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(client.Close)
	return &Attachments{Ledger: r.book, Client: client, App: "o/a"}, s
}

// picture is a file with a picture.
func picture(t *testing.T, name string, encode func(io.Writer, image.Image) error) apiclient.Upload {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, image.NewPaletted(image.Rect(0, 0, 20, 30), color.Palette{image.Black, image.White})); err != nil {
		t.Fatal(err)
	}
	return content(name, b.String())
}

func content(name, text string) apiclient.Upload {
	return apiclient.Upload{Name: name, Content: strings.NewReader(text), Size: int64(len(text))}
}

func (r *rig) upload(a *Attachments, job string, f apiclient.Upload) Attachment {
	r.t.Helper()
	got, err := a.Upload(r.t.Context(), job, f)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func TestAttachmentIsUploadedOncePerJob(t *testing.T) {
	r := newRig(t, nil)
	a, s := r.attachments()
	before := time.Now().Add(-time.Millisecond)
	first := r.upload(a, "j1", content("f.txt", "hello"))
	want := Attachment{URL: "http://files/o/a/chatfiles/1", Secret: "key-1", Filename: "f.txt", Bytes: 5}
	if diff := cmp.Diff(want, first, cmpopts.IgnoreFields(Attachment{}, "Uploaded", "Expires")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if first.Uploaded.Before(before) || first.Uploaded.After(time.Now()) || first.Expires.Sub(first.Uploaded) != apiclient.FileLife {
		t.Errorf("uploaded at %v, gone at %v", first.Uploaded, first.Expires)
	}
	if kind, _ := s.names.Load("f.txt"); kind != "text/plain; charset=utf-8" {
		t.Errorf("uploaded as %v", kind)
	}
	if shown := fmt.Sprintf("%v %+v", first, first); strings.Contains(shown, "key-1") {
		t.Errorf("the secret shows: %s", shown)
	}
	if again := r.upload(a, "j1", content("f.txt", "hello")); again != first {
		t.Errorf("again: %+v, not %+v", again, first)
	}
	for _, other := range []struct {
		job  string
		file apiclient.Upload
	}{
		{"j2", content("f.txt", "hello")},
		{"j1", content("g.txt", "hello")},
		{"j1", content("f.txt", "hellO")},
		{"", content("f.txt", "hello")},
		{"", content("f.txt", "hello")},
	} {
		before := s.uploads.Load()
		got := r.upload(a, other.job, other.file)
		if s.uploads.Load() != before+1 || got.URL == first.URL {
			t.Errorf("%q, %s: %+v after %d uploads", other.job, other.file.Name, got, s.uploads.Load())
		}
		if at, err := r.book.UploadedAt(t.Context(), got.URL); err != nil || !at.Equal(got.Uploaded) {
			t.Errorf("%s was uploaded at %v, the ledger says %v, %v", got.URL, got.Uploaded, at, err)
		}
	}
	keys, err := r.redis.Client().Keys(t.Context(), "crier:*file*").Result()
	if err != nil || len(keys) != 6+2 { // of six URLs and of two jobs
		t.Errorf("%d keys, %v", len(keys), err)
	}
	for _, key := range keys {
		life, err := r.redis.Client().PTTL(t.Context(), key).Result()
		if err != nil || life > apiclient.FileLife || life < apiclient.FileLife-time.Minute {
			t.Errorf("%s is kept for %v, %v", key, life, err)
		}
	}
}

// Of two that upload for the same job at the same time, both use the one that
// was there first.
func TestAttachmentsAtTheSameTime(t *testing.T) {
	r := newRig(t, nil)
	a, s := r.attachments()
	got := make([]Attachment, 2)
	s.gate = &sync.WaitGroup{} // neither is in the ledger before both are on their way
	s.gate.Add(len(got))
	var both sync.WaitGroup
	for i := range got {
		both.Go(func() {
			var err error
			if got[i], err = a.Upload(t.Context(), "j", content("f.txt", "hello")); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if got[0] != got[1] || got[0].URL == "" || s.uploads.Load() != 2 {
		t.Errorf("%d uploads, %+v", s.uploads.Load(), got)
	}
}

func TestAttachmentOfAnotherApp(t *testing.T) {
	r := newRig(t, nil)
	a, s := r.attachments()
	if bound, err := r.book.App(t.Context()); bound != "" || err != nil {
		t.Errorf("%q, %v", bound, err)
	}
	if _, err := r.book.Bind(t.Context(), "o/other"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Upload(t.Context(), "", content("f.txt", "hello")); !errors.Is(err, ErrForeign) || s.uploads.Load() != 0 {
		t.Errorf("%v after %d uploads", err, s.uploads.Load())
	}
	a.App = "o/other"
	r.upload(a, "", content("f.txt", "hello"))
}

// A file that could not be uploaded leaves nothing behind.
func TestAttachmentIsRefused(t *testing.T) {
	r := newRig(t, nil)
	a, _ := r.attachments()
	_, err := a.Upload(t.Context(), "j", content("f.txt", ""))
	if e, ok := errors.AsType[*apiclient.Error](err); !ok || e.Kind != apiclient.KindRejected {
		t.Errorf("%v", err)
	}
	if n := r.redis.Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func TestPictureSize(t *testing.T) {
	t.Parallel()
	// A picture of 1 x 1 in WebP's lossless form: there is no encoder of it here.
	tiny, err := base64.StdEncoding.DecodeString("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		file          apiclient.Upload
		width, height int
		kind          string
	}{
		"png":       {picture(t, "a.png", png.Encode), 20, 30, "image/png"},
		"jpeg":      {picture(t, "a.jpg", func(w io.Writer, i image.Image) error { return jpeg.Encode(w, i, nil) }), 20, 30, "image/jpeg"},
		"gif":       {picture(t, "a.gif", func(w io.Writer, i image.Image) error { return gif.Encode(w, i, nil) }), 20, 30, "image/gif"},
		"webp":      {content("a.webp", string(tiny)), 1, 1, "image/webp"},
		"misnamed":  {picture(t, "a.txt", png.Encode), 20, 30, "image/png"},
		"cut off":   {content("a.png", "\x89PNG\x0d\x0a\x1a\x0a"), 0, 0, "image/png"},
		"text":      {content("a.png", "hello"), 0, 0, "text/plain; charset=utf-8"},
		"by name":   {content("a.svg", "\x00\x01"), 0, 0, "image/svg+xml"},
		"any bytes": {content("a", "\x00\x01"), 0, 0, "application/octet-stream"},
	} {
		got, err := ExpectUpload("https://h/", "o/a", tt.file)
		want := Attachment{
			URL: "https://h/o/a/chatfiles/00000000-0000-0000-0000-000000000000", Secret: usualSecret,
			Filename: tt.file.Name, Bytes: tt.file.Size, Width: tt.width, Height: tt.height,
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if _, err := describeFile(&tt.file); err != nil || tt.file.ContentType != tt.kind {
			t.Errorf("%s: %v, %q", name, err, tt.file.ContentType)
		}
	}
	odd := content("a\xff.bin", "x")
	if got, err := ExpectUpload("https://h", "o/a", odd); err != nil || got.Filename != "a\uFFFD.bin" {
		t.Errorf("%q, %v", got.Filename, err)
	}
}

func TestReadAttached(t *testing.T) {
	t.Parallel()
	file := Attachment{URL: "http://h/f", Secret: "key", Filename: `a "b".png`, Width: 2, Height: 3}
	bare := Attachment{URL: "http://h/f", Filename: "f"}
	for name, tt := range map[string]struct {
		file      Attachment
		msg, want string
	}{
		"img":     {file, `{"type":"img"}`, `{"type":"img","url":"http://h/f","secret":"key","filename":"a \"b\".png","size":{"width":2,"height":3}}`},
		"own":     {file, `{"type":"img","size":{},"filename":"c"}`, `{"type":"img","size":{},"filename":"c","url":"http://h/f","secret":"key"}`},
		"audio":   {file, `{"type":"audio","length":4}`, `{"type":"audio","length":4,"url":"http://h/f","secret":"key","filename":"a \"b\".png"}`},
		"video":   {file, `{"type":"video","thumb":"http://h/t"}`, `{"type":"video","thumb":"http://h/t","url":"http://h/f","secret":"key","filename":"a \"b\".png"}`},
		"file":    {bare, `{"type":"file"}`, `{"type":"file","url":"http://h/f","filename":"f"}`},
		"no size": {bare, `{"type":"img"}`, `{"type":"img","url":"http://h/f","filename":"f"}`},
	} {
		d, err := tt.file.ReadDocument(strings.NewReader(` { "target_type":"users", "msg": ` + tt.msg + `, "target":["u1"] } `))
		if err != nil || string(d.Targets.raw) != `["u1"]` {
			t.Errorf("%s: %v, %v", name, err, d.Targets)
			continue
		}
		if diff := cmp.Diff(tt.want, string(d.Message.Msg)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestReadAttachedFaults(t *testing.T) {
	t.Parallel()
	file := Attachment{URL: "http://h/f", Filename: "f"}
	const types = "msg.type: must be one of img, audio, video, file, to take the file of --attach"
	for document, want := range map[string]string{
		`{"msg":{"type":"txt","msg":"a"}}`: types,
		`{"msg":{"type":7}}`:               types,
		`{"msg":{}}`:                       types,
		`{"msg":{"type":"img","url":"http://h/g","secret":1}}`: "msg.url: must be left out: --attach gives it\nmsg.secret: must be left out: --attach gives it",
		"{\n\"msg\":{\"type\":}}":                              "invalid JSON at line 2, column 15: invalid character '}' at start of value",
		`{"msg":{"type":"img","type":"img"}}`:                  "msg.type: is given twice",
		`[]`:                                                   "document: must be a JSON object",
	} {
		if _, err := file.ReadDocument(strings.NewReader(document)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", document, err, want)
		}
	}
	for document, want := range map[string]string{ // found where all documents are checked
		`{"target_type":"users"}`:                                         "msg: is required",
		`{"target_type":"users","msg":"img"}`:                             "msg: must be a JSON object",
		`{"target_type":"users","msg":{"type":"img","filename":null}}`:    "msg.filename: must be a string",
		`{"target_type":"users","msg":{"type":"file","size":{}},"x\"":1}`: "x\": is not a field that is known here\nmsg.size: is not a field that is known here",
	} {
		if _, err := file.ReadDocument(strings.NewReader(document)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", document, err, want)
		}
	}
}

// What is to be sent when its file is gone is refused, by a plan too.
func TestSendAtBeyondTheFile(t *testing.T) {
	r := newRig(t, nil)
	const day = 24 * time.Hour
	a, _ := r.attachments()
	known := r.upload(a, "", content("f.txt", "hello"))
	now := time.Now().UTC()
	old := "http://h/o/a/chatfiles/old"
	if _, err := r.book.KeepUpload(t.Context(), ledger.Upload{URL: old, At: now.Add(-2 * day), Until: now.Add(5 * day)}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		msg    string
		sendAt time.Duration // from now; 0 = none
		want   string        // field whose file is gone
		gone   string
	}{
		"known, in time":   {`"file","url":"` + known.URL + `"`, 7*day - time.Minute, "", ""},
		"known, too late":  {`"file","url":"` + known.URL + `"`, 7*day + time.Minute, "msg.url", known.Expires.Format(time.RFC3339)},
		"older, in time":   {`"file","url":"` + old + `"`, 5*day - time.Minute, "", ""},
		"older, too late":  {`"file","url":"` + old + `"`, 5*day + time.Minute, "msg.url", now.Add(5 * day).Format(time.RFC3339)},
		"another's":        {`"img","url":"https://h/x/o/a/chatfiles/1"`, 7*day - time.Minute, "", ""},
		"another's, late":  {`"img","url":"https://h/x/o/a/chatfiles/1"`, 7*day + time.Minute, "msg.url", "at the latest"},
		"a thumb":          {`"video","url":"https://h/v","thumb":"` + old + `"`, 6 * day, "msg.thumb", now.Add(5 * day).Format(time.RFC3339)},
		"kept elsewhere":   {`"file","url":"https://h/chatfiles/1"`, 30 * day, "", ""},
		"a folder":         {`"file","url":"https://h/o/a/chatfiles/"`, 30 * day, "", ""},
		"no URL":           {`"file","url":"%"`, 30 * day, "", ""},
		"at once":          {`"file","url":"` + old + `"`, 0, "", ""},
		"a time gone by":   {`"file","url":"` + old + `"`, -day, "", ""},
		"a text of a file": {`"txt","msg":"` + old + `"`, 30 * day, "", ""},
	} {
		options := "{}"
		if tt.sendAt != 0 {
			options = `{"send_at":"` + now.Add(tt.sendAt).Format(time.RFC3339) + `"}`
		}
		document := `{"target_type":"users","target":["u1"],"msg":{"type":` + tt.msg + `},"options":` + options + `}`
		_, err := r.trySubmit(document, nil)
		d, parseErr := ParseDocument([]byte(document))
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		planner := Submitter{Ledger: r.book, Queue: NewQueue(r.redis.Client(), r.cfg.Namespace), Gate: r.gate}
		_, planErr := planner.Plan(t.Context(), Submission{Document: d})
		for _, err := range []error{err, planErr, planner.Check(t.Context(), Submission{Document: d})} {
			invalid, refused := errors.AsType[*InvalidError](err)
			switch {
			case tt.want == "":
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case !refused || len(invalid.Faults) != 1 || invalid.Faults[0].Field != "options.send_at":
				t.Errorf("%s: %v", name, err)
			case !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.gone):
				t.Errorf("%s: %v, want %s and %s", name, err, tt.want, tt.gone)
			}
		}
	}
}
