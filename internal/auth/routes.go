// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"encoding/json"
	"errors"
	"net/http"
)

// Routes tell a page who has signed in, with the token that goes with every change
// (GET /auth/session), and sign out (POST /auth/logout), however the session began.
func (d *Directory) Routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /auth/session", d.showSession)
	routes.HandleFunc("POST /auth/logout", d.endSession)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		routes.ServeHTTP(w, r)
	})
}

func (d *Directory) showSession(w http.ResponseWriter, r *http.Request) {
	s, err := d.Session(r)
	status, body := http.StatusOK, any(struct {
		Subject string  `json:"subject"`
		Name    string  `json:"name"`
		Grants  []Grant `json:"grants"`
		CSRF    string  `json:"csrf_token"`
		Expires string  `json:"expires_at"`
	}{s.Person.Subject, s.Person.Name, s.Person.Grants, s.CSRF, s.Expires.UTC().Format("2006-01-02T15:04:05Z")})
	if err != nil {
		status = http.StatusUnauthorized
		if errors.Is(err, ErrUnavailable) {
			status = http.StatusServiceUnavailable
		}
		body = map[string]string{"error": "nobody has signed in in this browser"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the browser has gone, if anything
}

func (d *Directory) endSession(w http.ResponseWriter, r *http.Request) {
	switch err := d.SignOut(w, r); {
	case errors.Is(err, ErrCSRF):
		http.Error(w, ErrCSRF.Error(), http.StatusForbidden)
	case err != nil:
		http.Error(w, "nobody can sign out at the moment", http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
