// Package receiver verifies requests of cdc-hooks: copy this file, and call Verify before anything else.
package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const tolerance = 5 * time.Minute

// ErrWrongSignature: the request is not genuine, or too old. Answer 401 and forget it.
var ErrWrongSignature = errors.New("no signature matches, or the timestamp is more than five minutes off")

var digits = regexp.MustCompile(`^[0-9]{1,12}$`)

// Verify returns nil if the request is genuine. The body is as it came, before any parsing: io.ReadAll(request.Body).
func Verify(secret string, header http.Header, body []byte) error {
	key, err := keyOf(secret)
	if err != nil {
		return err
	}
	timestamp := header.Get("webhook-timestamp")
	if !digits.MatchString(timestamp) {
		return ErrWrongSignature
	}
	seconds, _ := strconv.ParseInt(timestamp, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return ErrWrongSignature
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(header.Get("webhook-id") + "." + timestamp + "."))
	mac.Write(body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	// One signature for each secret that is in use while secrets are being changed; other versions are skipped.
	for _, signature := range strings.Split(header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(signature), expected) {
			return nil
		}
	}
	return ErrWrongSignature
}

// whsec_ and base64 of the key, or plain text, which is the key itself.
func keyOf(secret string) ([]byte, error) {
	key := []byte(secret)
	if encoded := strings.TrimPrefix(secret, "whsec_"); encoded != secret {
		var err error
		if key, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "=")); err != nil {
			return nil, errors.New("what follows whsec_ in the secret is not base64")
		}
	}
	if len(key) == 0 {
		return nil, errors.New("the secret is empty: everybody could sign with it")
	}
	return key, nil
}
