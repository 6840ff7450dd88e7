package tasks

import (
	"context"
	"net/url"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"

	"crier/internal/apiclient"
)

// filePath is the path of a file that was uploaded to the Chat API (CHAT-API: "Files").
var filePath = regexp.MustCompile(`/[^/]+/[^/]+/chatfiles/[^/]+$`)

// checkFiles refuses a document whose files the API will have dropped before it
// is sent. When another has uploaded a file is not known: it counts as uploaded
// now, so that nothing is refused which could be right.
func (s *Submitter) checkFiles(ctx context.Context, d Document) error {
	now := time.Now()
	if !d.Options.SendAt.After(now) {
		return nil
	}
	var files struct {
		URL   string `json:"url"`
		Thumb string `json:"thumb"`
	}
	_ = json.Unmarshal(d.Message.Msg, &files) // was checked; a message of another type has none
	for _, f := range []struct{ field, url string }{{"msg.url", files.URL}, {"msg.thumb", files.Thumb}} {
		u, err := url.Parse(f.url)
		if err != nil || !filePath.MatchString(u.Path) {
			continue
		}
		at, err := s.Ledger.UploadedAt(ctx, f.url)
		if err != nil {
			return err
		}
		known := ""
		if at.IsZero() {
			at, known = now, " at the latest"
		}
		if gone := at.Add(apiclient.FileLife).UTC(); d.Options.SendAt.After(gone) {
			return fault("options.send_at", "is too late: the API keeps files for 7 days, and that of %s is gone by %s%s",
				f.field, gone.Format(time.RFC3339), known)
		}
	}
	return nil
}
