package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"mime"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/image/webp"

	"crier/internal/apiclient"
	"crier/internal/ledger"
)

// Attachments puts files to the Chat API for messages to refer to.
type Attachments struct {
	Ledger *ledger.Ledger
	Client *apiclient.Client
	App    string // "org/app" of Client: the namespace may belong to no other
}

// Attachment is a file that a message can refer to.
type Attachment struct {
	URL      string    `json:"url"`
	Secret   string    `json:"secret,omitempty"` // with which receivers may read it; "" = it needs none
	Filename string    `json:"filename"`
	Bytes    int64     `json:"bytes"`
	Width    int       `json:"width,omitzero"` // of a picture, in pixels; 0 = it is none, or not known
	Height   int       `json:"height,omitzero"`
	Uploaded time.Time `json:"uploaded_at"`
	Expires  time.Time `json:"expires_at"` // when it is gone
}

// String keeps the secret out of what is printed.
func (a Attachment) String() string { return a.URL }

// Upload uploads a file, and remembers it for as long as the API keeps it. What
// was uploaded for a job before, under the same name and with the same content,
// is not uploaded again: so a submission that is repeated is the same job. The
// job needs not exist yet; "" = none, the file is uploaded in any case. The type
// of the content may be left out.
//
// ErrForeign where the namespace belongs to another app; what the API has against
// the file is an *apiclient.Error.
func (a *Attachments) Upload(ctx context.Context, job string, f apiclient.Upload) (Attachment, error) {
	bound, err := a.Ledger.App(ctx)
	if err != nil {
		return Attachment{}, err
	}
	if bound != "" && bound != a.App {
		return Attachment{}, fmt.Errorf("tasks: the namespace is used for %s, not for %s: %w", bound, a.App, ErrForeign)
	}
	name := ""
	if job != "" {
		if name, err = fingerprint(f); err != nil {
			return Attachment{}, err
		}
		if kept, err := a.Ledger.Upload(ctx, job, name); err != nil || kept != nil {
			return readAttachment(kept, err)
		}
	}
	made, err := describeFile(&f)
	if err != nil {
		return Attachment{}, err
	}
	made.Uploaded = time.Now().UTC().Truncate(time.Millisecond) // rather too early than too late
	made.Expires = made.Uploaded.Add(apiclient.FileLife)
	file, err := a.Client.Upload(ctx, f)
	if err != nil {
		return Attachment{}, err
	}
	made.URL, made.Secret = file.URL, file.Secret
	record, err := json.Marshal(made)
	if err != nil {
		return Attachment{}, fmt.Errorf("tasks: attachment: %w", err)
	}
	return readAttachment(a.Ledger.KeepUpload(ctx, ledger.Upload{
		URL: made.URL, At: made.Uploaded, Until: made.Expires, Job: job, Name: name, Record: record,
	}))
}

func readAttachment(record []byte, err error) (a Attachment, _ error) {
	if err == nil {
		err = json.Unmarshal(record, &a)
	}
	if err != nil {
		return Attachment{}, fmt.Errorf("tasks: attachment: %w", err)
	}
	return a, nil
}

// fingerprint is the hash of a file's name and content.
func fingerprint(f apiclient.Upload) (string, error) {
	hash := sha256.New()
	_, _ = io.WriteString(hash, f.Name+"\x00") // a hash takes everything
	if err := fromStart(f, func(r io.Reader) error {
		_, err := io.Copy(hash, r)
		return err
	}); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// fromStart lets read have the content from its beginning.
func fromStart(f apiclient.Upload, read func(io.Reader) error) error {
	_, err := f.Content.Seek(0, io.SeekStart)
	if err == nil {
		err = read(io.LimitReader(f.Content, f.Size))
	}
	if err != nil {
		return fmt.Errorf("tasks: reading the attached file: %w", err)
	}
	return nil
}

// usualSecret is as long as those that the vendor gives out.
const usualSecret = "************************************************"

// ExpectUpload returns what an upload will come to, with a URL and a secret of
// the usual length: with it a document can be checked, measured and planned
// before the file is uploaded.
func ExpectUpload(baseURL, app string, f apiclient.Upload) (Attachment, error) {
	a, err := describeFile(&f)
	a.URL = strings.TrimRight(baseURL, "/") + "/" + app + "/chatfiles/00000000-0000-0000-0000-000000000000"
	a.Secret = usualSecret
	return a, err
}

const (
	sniffed  = 512                        // bytes that tell what a file is, or
	anyBytes = "application/octet-stream" // that they do not tell
)

// describeFile tells what can be seen of a file. It fills in its content type,
// and makes of its name what JSON can hold.
func describeFile(f *apiclient.Upload) (Attachment, error) {
	f.Name = strings.ToValidUTF8(f.Name, "\uFFFD")
	a := Attachment{Filename: f.Name, Bytes: f.Size}
	var head []byte
	err := fromStart(*f, func(r io.Reader) (err error) {
		head, err = io.ReadAll(io.LimitReader(r, sniffed))
		return err
	})
	if err != nil {
		return a, err
	}
	kind := http.DetectContentType(head)
	if f.ContentType == "" && kind == anyBytes {
		f.ContentType = mime.TypeByExtension(filepath.Ext(f.Name))
	}
	f.ContentType = cmp.Or(f.ContentType, kind)
	decode := pictures()[kind]
	if decode == nil {
		return a, nil
	}
	err = fromStart(*f, func(r io.Reader) error {
		if config, err := decode(r); err == nil {
			a.Width, a.Height = config.Width, config.Height
		} // else it is sent as it is: receivers may make more of it
		return nil
	})
	return a, err
}

// pictures are the kinds of pictures whose size can be told.
func pictures() map[string]func(io.Reader) (image.Config, error) {
	return map[string]func(io.Reader) (image.Config, error){
		"image/png": png.DecodeConfig, "image/jpeg": jpeg.DecodeConfig, "image/gif": gif.DecodeConfig, "image/webp": webp.DecodeConfig,
	}
}
