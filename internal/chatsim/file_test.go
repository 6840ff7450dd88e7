package chatsim

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const filesURL = "/chat-demo/testapp/chatfiles"

// formOf is a multipart body with one part, and its Content-Type.
func formOf(t testing.TB, field, name, media, content string) (body, contentType string) {
	t.Helper()
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	header := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf("form-data; name=%q; filename=%q", field, name)}}
	if media != "" {
		header.Set("Content-Type", media)
	}
	part, err := w.CreatePart(header)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(part, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), w.FormDataContentType()
}

// upload sends one file; edit may change the request before.
func (s *Server) upload(t testing.TB, content string, edit ...func(*http.Request)) reply {
	t.Helper()
	body, contentType := formOf(t, "file", "photo.jpg", "image/jpeg", content)
	return s.call(t, filesURL, body, append([]func(*http.Request){set("Content-Type", contentType)}, edit...)...)
}

// download fetches a file, with a secret unless it is empty, and no token.
func (s *Server) download(t testing.TB, uuid, secret string) reply {
	t.Helper()
	return s.call(t, filesURL+"/"+uuid, "", func(r *http.Request) {
		r.Method, r.Header = http.MethodGet, http.Header{}
		if secret != "" {
			r.Header.Set("share-secret", secret)
		}
	})
}

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestUpload(t *testing.T) {
	for _, tt := range []struct {
		name, restrict, secret string
	}{
		{"for all", "", ""},
		{"not restricted", "false", ""},
		{"restricted", "true", `,"share-secret":"[A-Za-z0-9_-]{48}"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, nil)
			got := s.upload(t, "the picture", set("restrict-access", tt.restrict))
			want := regexp.MustCompile(`^\{"action":"post","application":"[0-9a-f-]{36}","path":"/chatfiles",` +
				`"uri":"http://example.com/chat-demo/testapp/chatfiles",` +
				`"entities":\[\{"uuid":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}","type":"chatfile"` + tt.secret + `\}\],` +
				`"timestamp":\d{13},"duration":\d+,"organization":"chat-demo","applicationName":"testapp"\}$`)
			if got.Status != http.StatusOK || !want.MatchString(got.Text) {
				t.Errorf("got %d %s", got.Status, got.Text)
			}
			files := s.Files()
			if len(files) != 1 || len(got.Entities) != 1 {
				t.Fatalf("%d files, %d entities", len(files), len(got.Entities))
			}
			kept := File{got.Entities[0].UUID, got.Entities[0].Secret, "photo.jpg", "image/jpeg", []byte("the picture")}
			if diff := cmp.Diff(kept, files[0]); diff != "" {
				t.Error(diff)
			}
			if st := s.Stats(); st.Uploads != 1 || st.Calls != 0 || st.LargestBody != 0 || st.Statuses[200] != 1 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestUploadRefusals(t *testing.T) {
	body, contentType := formOf(t, "file", "photo.jpg", "", "12345678")
	other, otherType := formOf(t, "picture", "photo.jpg", "", "12345678")
	large, largeType := formOf(t, "file", "photo.jpg", "", "123456789")
	for _, tt := range []struct {
		name, body, contentType string
		edit                    func(*http.Request)
		status                  int
		error, description      string
	}{
		{name: "exactly as large as may be", body: body, contentType: contentType, status: 200},
		{name: "one byte too large", body: large, contentType: largeType, status: 413},
		{name: "far too large", body: strings.Repeat("x", maxFraming+9), contentType: contentType, status: 413},
		{name: "no token", body: body, contentType: contentType, edit: func(r *http.Request) { r.Header.Del("Authorization") }, status: 401, error: "unauthorized"},
		{name: "wrong token", body: body, contentType: contentType, edit: bearer("other"), status: 401, error: "auth_bad_access_token"},
		{name: "too large with a wrong token", body: large, contentType: largeType, edit: bearer("other"), status: 401, error: "auth_bad_access_token"},
		{name: "JSON", body: hello, contentType: "application/json", status: 415, error: "unsupported_media_type", description: "multipart/form-data"},
		{name: "another multipart", body: body, contentType: strings.Replace(contentType, "form-data", "mixed", 1), status: 415, error: "unsupported_media_type"},
		{name: "no content type", body: body, status: 415, error: "unsupported_media_type"},
		{name: "compressed", body: body, contentType: contentType, edit: set("Content-Encoding", "gzip"), status: 415, error: "unsupported_media_type"},
		{name: "no boundary", body: body, contentType: "multipart/form-data", status: 400, error: "illegal_argument"},
		{name: "no part file", body: other, contentType: otherType, status: 400, error: "illegal_argument", description: "file must be provided"},
		{name: "empty", contentType: contentType, status: 400, error: "illegal_argument", description: "file must be provided"},
		{name: "cut off", body: body[:len(body)-10], contentType: contentType, status: 400, error: "illegal_argument", description: "without a boundary"},
		{name: "PUT", body: body, contentType: contentType, edit: func(r *http.Request) { r.Method = http.MethodPut }, status: 405, error: "method_not_allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, func(c *Config) { c.MaxFile = 8 })
			edits := []func(*http.Request){set("Content-Type", tt.contentType)}
			if tt.edit != nil {
				edits = append(edits, tt.edit)
			}
			got := s.call(t, filesURL, tt.body, edits...)
			if got.Status != tt.status || got.Error != tt.error || !strings.Contains(got.Description, tt.description) {
				t.Errorf("got %d %s", got.Status, got.Text)
			}
			taken := 0
			if tt.status == http.StatusOK {
				taken = 1
			}
			if st := s.Stats(); len(s.Files()) != taken || st.Uploads != int64(taken) || len(st.Refused) != 1-taken {
				t.Errorf("%d files, stats %+v", len(s.Files()), st)
			}
		})
	}
}

func TestOtherFieldsDoNotHideTheFile(t *testing.T) {
	s := newSim(t, nil)
	body := "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../Füße.txt\"\r\n\r\na\r\n--c\r\n\r\n--b--\r\n"
	got := s.call(t, filesURL, body, set("Content-Type", "multipart/form-data; boundary=b"))
	if got.Status != http.StatusOK {
		t.Fatalf("got %d %s", got.Status, got.Text)
	}
	file := s.Files()[0]
	if file.Name != "Füße.txt" || string(file.Bytes) != "a\r\n--c\r\n" {
		t.Errorf("got %q in %q", file.Bytes, file.Name)
	}
	if got := s.download(t, file.UUID, ""); got.Text != "a\r\n--c\r\n" || got.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got %q as %v", got.Text, got.Header)
	}
}

func TestDownload(t *testing.T) {
	s := newSim(t, nil)
	open := s.upload(t, "for all").Entities[0]
	closed := s.upload(t, "for few", set("restrict-access", "true")).Entities[0]
	for _, tt := range []struct {
		name, uuid, secret string
		status             int
		text               string
	}{
		{"for all", open.UUID, "", 200, "for all"},
		{"for all with a secret", open.UUID, "any", 200, "for all"},
		{"with the secret", closed.UUID, closed.Secret, 200, "for few"},
		{"without the secret", closed.UUID, "", 401, `"unauthorized"`},
		{"with another secret", closed.UUID, closed.Secret + "x", 403, `"forbidden_op"`},
		{"unknown", strings.Repeat("0", 36), "", 404, `"service_resource_not_found"`},
		{"nothing", "", "", 404, `"service_resource_not_found"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := s.download(t, tt.uuid, tt.secret)
			if got.Status != tt.status || !strings.Contains(got.Text, tt.text) {
				t.Errorf("got %d %s", got.Status, got.Text)
			}
			if whole := got.Text == tt.text && got.Header.Get("Content-Type") == "image/jpeg"; whole != (tt.status == http.StatusOK) {
				t.Errorf("got %q as %v", got.Text, got.Header)
			}
		})
	}
	t.Run("POST", func(t *testing.T) {
		got := s.call(t, filesURL+"/"+open.UUID, "")
		if got.Status != http.StatusMethodNotAllowed || got.Header.Get("Allow") != http.MethodGet {
			t.Errorf("got %d %v", got.Status, got.Header)
		}
	})
}

func TestUploadsCountAgainstTheTokenAndNoQuota(t *testing.T) {
	s := newSim(t, func(c *Config) {
		c.TokenCalls, c.PlanCalls = 2, 1
		c.Quotas = Quotas{Users: {{Calls: 1, Window: 24 * time.Hour, Mode: ModeSliding}}}
	})
	token := bearer(s.call(t, tokenURL, tokenRequest("demo-secret", "")).Token)
	for n, want := range []string{"", "", "expired"} {
		if got := s.upload(t, "x", token); got.Status == http.StatusOK != (want == "") || !strings.Contains(got.Description, want) {
			t.Errorf("upload %d: %d %s", n, got.Status, got.Text)
		}
	}
	if got := s.call(t, unifiedPath, hello); got.Status != http.StatusOK {
		t.Errorf("a message after them: %d %s", got.Status, got.Text)
	}
	if got := s.upload(t, "x"); got.Status != http.StatusOK {
		t.Errorf("an upload after the plan's end: %d %s", got.Status, got.Text)
	}
}

// TestUploadsLeaveTheSequenceOfMessageCalls has a message call meet the same
// fault whether or not a file went before it.
func TestUploadsLeaveTheSequenceOfMessageCalls(t *testing.T) {
	sequence := func(uploads bool) (statuses []int) {
		s := newSim(t, func(c *Config) { c.Seed, c.Faults = 7, []Fault{{Kind: FaultThrottle, Percent: 50}} })
		for range 50 {
			if uploads {
				s.upload(t, "x")
			}
			statuses = append(statuses, s.call(t, unifiedPath, hello).Status)
		}
		return statuses
	}
	if diff := cmp.Diff(sequence(false), sequence(true)); diff != "" {
		t.Error(diff)
	}
}

func TestUploadsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, func(c *Config) { c.Latency = time.Second })
		began := time.Now()
		uuid := s.upload(t, "x").Entities[0].UUID
		if took := time.Since(began); took != time.Second {
			t.Errorf("the upload took %v", took)
		}
		if s.download(t, uuid, ""); time.Since(began) != 2*time.Second {
			t.Errorf("both took %v", time.Since(began))
		}
	})
}

func TestOldFilesAreForgotten(t *testing.T) {
	s := newSim(t, func(c *Config) { c.MaxFiles = 2 })
	var uuids []string
	for _, content := range []string{"a", "b", "c"} {
		uuids = append(uuids, s.upload(t, content).Entities[0].UUID)
	}
	files := s.Files()
	if len(files) != 2 || string(files[0].Bytes) != "b" || string(files[1].Bytes) != "c" || s.Stats().Uploads != 3 {
		t.Fatalf("files %+v", files)
	}
	if got := s.download(t, uuids[0], ""); got.Status != http.StatusNotFound {
		t.Errorf("the oldest: %d", got.Status)
	}
	files[1].Bytes[0] = 'x'
	if got := s.download(t, uuids[2], ""); got.Text != "c" {
		t.Errorf("a change of the copy shows: %q", got.Text)
	}
	s.Reset()
	if len(s.Files()) != 0 || s.Stats().Uploads != 0 {
		t.Errorf("after the reset: %d files, stats %+v", len(s.Files()), s.Stats())
	}
	if got := s.upload(t, "d").Entities[0].UUID; got == uuids[0] || s.download(t, uuids[0], "").Status != http.StatusNotFound {
		t.Error("a UUID of before the reset is known again")
	}
}
