package chatsim

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
)

// maxFraming is what the body of an upload may have on top of its file, in
// bytes: boundaries, the headers of the parts, other fields.
const maxFraming = 64 << 10

// File is an uploaded file.
type File struct {
	UUID        string
	Secret      string // share-secret; empty = the upload asked for none
	Name        string // without folders; empty = not given
	ContentType string // as the part said; empty = not given
	Bytes       []byte
}

// maxUpload is the largest body of an upload in bytes.
func (s *Server) maxUpload() int { return s.cfg.MaxFile + maxFraming }

// takeFile handles an upload (CHAT-API, Files). It meets faults like a message
// call and counts against no quota.
func (s *Server) takeFile(c *call, rng *rand.Rand) answer {
	if len(c.body) > s.maxUpload() {
		return c.refuse(bodyTooLarge) // by the proxy, before the service sees the call
	}
	return s.venture(c, rng, func(c *call) answer {
		if refused := s.tokens.admit(c.request.Header.Get("Authorization"), s.cfg.TokenCalls); refused != nil {
			return c.refuse(*refused)
		}
		file, refused := c.decodeFile(s.cfg.MaxFile)
		if refused != nil {
			return c.refuse(*refused)
		}
		s.name(&file, c.request.Header.Get("restrict-access") == "true")
		c.record.keep(file, s.cfg.MaxFiles)

		out := append(s.openSuccess(c), `"entities":[{"uuid":"`+file.UUID+`","type":"chatfile"`...)
		if file.Secret != "" {
			out = append(out, `,"share-secret":"`+file.Secret+`"`...)
		}
		return answer{status: http.StatusOK, body: s.closeSuccess(c, append(out, `}]`...))}
	})
}

// decodeFile finds the first part named file in the body of an upload, or says
// why there is none that can be taken.
func (c *call) decodeFile(limit int) (File, *refusal) {
	media, params, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" || c.request.Header.Get("Content-Encoding") != "" {
		return File{}, &notMultipart
	}
	parts := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := parts.NextPart()
		if err != nil {
			r := illegalArgument("file must be provided")
			return File{}, &r
		}
		if part.FormName() != "file" {
			continue
		}
		content, err := io.ReadAll(part)
		switch {
		case err != nil:
			r := illegalArgument("file ends without a boundary")
			return File{}, &r
		case len(content) > limit:
			return File{}, &bodyTooLarge
		}
		return File{Name: part.FileName(), ContentType: part.Header.Get("Content-Type"), Bytes: content}, nil
	}
}

// name gives a file the UUID and, if it is restricted, the secret it goes by.
// They are drawn from an id that no reset gives out again: what was uploaded
// before a reset is unknown after it.
func (s *Server) name(file *File, restricted bool) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(s.cfg.Seed))
	binary.LittleEndian.PutUint64(key[8:], uint64(s.ids.Add(1)))
	random := rand.NewChaCha8(key)

	var noise [36]byte
	_, _ = random.Read(noise[:]) // never fails
	file.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", noise[:4], noise[4:6], noise[6:8], noise[8:10], noise[10:16])
	if restricted {
		_, _ = random.Read(noise[:])
		file.Secret = base64.RawURLEncoding.EncodeToString(noise[:])
	}
}

// fetchFile answers GET .../chatfiles/{uuid} for whoever shows the file's
// secret. It asks for no token: the ones that receivers of a message have are
// none of this desk's.
func (s *Server) fetchFile(c *call, uuid string) answer {
	file, known := c.record.file(uuid)
	shown := c.request.Header.Get("share-secret")
	switch {
	case !known:
		return c.refuse(unknownPath)
	case file.Secret != "" && shown == "":
		return c.refuse(noToken)
	case file.Secret != "" && shown != file.Secret:
		return c.refuse(forbidden)
	case file.ContentType == "":
		file.ContentType = "application/octet-stream"
	}
	return answer{status: http.StatusOK, body: file.Bytes, media: file.ContentType}
}

// keep books an upload, and forgets the oldest file if there are more than most.
func (r *record) keep(file File, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Uploads++
	if len(r.files) == most {
		r.files = slices.Delete(r.files, 0, 1)
	}
	r.files = append(r.files, file)
}

func (r *record) file(uuid string) (File, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, file := range r.files {
		if file.UUID == uuid {
			return file, true
		}
	}
	return File{}, false
}

// listFiles copies the files. Calls need not wait for their bytes.
func (r *record) listFiles() []File {
	r.mu.Lock()
	files := slices.Clone(r.files)
	r.mu.Unlock()
	for i := range files {
		files[i].Bytes = slices.Clone(files[i].Bytes)
	}
	return files
}
