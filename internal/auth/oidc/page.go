// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"html"
	"net/http"
)

const pageHead = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>HSM Signer</title>"

// goOn ends a sign-in with a page that goes on by itself: see [Flow].
func (f *Flow) goOn(w http.ResponseWriter, to string) {
	to = html.EscapeString(to)
	page(w, http.StatusOK, pageHead+`<meta http-equiv="refresh" content="0;url=`+to+`"></head><body><p><a href="`+to+`">Go on</a></p></body></html>`)
}

// say tells a person what happened. The text is ours: nothing that came with the
// request is in it.
func (f *Flow) say(w http.ResponseWriter, status int, text string) {
	page(w, status, pageHead+`</head><body><p>`+html.EscapeString(text)+`</p><p><a href="/auth/login">Sign in</a></p></body></html>`)
}

func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the browser has gone, if anything
}
