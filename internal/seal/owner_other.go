// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package seal

import "os"

func keepOwner(*os.File, os.FileInfo) error { return nil }
