// SPDX-License-Identifier: Apache-2.0

//go:build cgo && unix

package token

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

// probe loads a library for good and says what is wrong with it: nothing (0), it
// cannot be loaded (1), it is no PKCS#11 module (2). The text is dlerror's own.
static int probe(const char *path, const char **text)
{
	void *handle = dlopen(path, RTLD_LAZY);
	if (handle == NULL) {
		*text = dlerror();
		return 1;
	}
	return dlsym(handle, "C_GetFunctionList") == NULL ? 2 : 0;
}
*/
import "C"

import (
	"errors"
	"strings"
	"unsafe"
)

// probe says why a library cannot be used, which the binding does not.
func probe(path string) error {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var text *C.char
	switch C.probe(p, &text) {
	case 0:
		return nil
	case 1:
		why := "the system's loader gave no reason"
		if text != nil {
			why = strings.TrimSpace(clean(C.GoString(text)))
		}
		return errors.New("it cannot be loaded as a shared library: " + why)
	}
	return errors.New("it is a shared library, but no PKCS#11 module: it lacks C_GetFunctionList")
}
