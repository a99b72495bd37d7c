// SPDX-License-Identifier: Apache-2.0

package awskmsfake

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"time"
)

const maxBody = 1 << 20

// apiError is an error as AWS sends it.
type apiError struct {
	status        int
	code, message string
}

func refuse(code, message string) *apiError { return &apiError{http.StatusBadRequest, code, message} }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return
	}
	w.Header().Set("X-Amzn-Requestid", newRequestID())
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		s.serveSTS(w, r, body)
		return
	}
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var in request
	if err := json.Unmarshal(body, &in); err != nil {
		sendError(w, refuse("SerializationException", "not JSON"))
		return
	}
	within := s.admit(operation)
	s.wait(r.Context())
	if s.broken(w, r, operation, in.KeyID) {
		return
	}
	if fault := s.authenticate(r, body); fault != nil {
		sendError(w, fault)
		return
	}
	if !within {
		sendError(w, refuse("ThrottlingException", "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."))
		return
	}
	var answer map[string]any
	var fault *apiError
	switch service {
	case "TrentService":
		answer, fault = s.answer(operation, &in)
	case "ResourceGroupsTaggingAPI_20170126":
		answer, fault = s.getResources(&in)
	default:
		fault = refuse("UnknownOperationException", "no such operation")
	}
	if fault != nil {
		sendError(w, fault)
		return
	}
	s.mu.Lock()
	alter := s.alter
	s.mu.Unlock()
	if alter != nil {
		alter(operation, answer)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(answer)
}

// broken does what a fault says, if there is one for this request.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, operation, arn string) bool {
	f, cleared := s.fault(operation, arn, mathrand.Float64)
	if f == nil {
		return false
	}
	if f.Hang {
		select {
		case <-r.Context().Done():
		case <-cleared:
		}
		panic(http.ErrAbortHandler)
	}
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	status := f.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	if f.Code == "" {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, f.Body)
		return true
	}
	sendError(w, &apiError{status, f.Code, f.Message})
	return true
}

func sendError(w http.ResponseWriter, e *apiError) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": e.code, "message": e.message})
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	h := hex.EncodeToString(b[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// seconds is how JSON 1.1 writes a time.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
