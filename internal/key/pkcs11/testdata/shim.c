// SPDX-License-Identifier: Apache-2.0

// A PKCS#11 module for tests: it passes every call on to the module that
// SHIM_MODULE names, and misbehaves as the file SHIM_CONTROL tells it to, which is
// read anew at every call. A line of the file is
//
//	<function> <action> [<value>]
//
// and an action that begins with "once-" is done by one call only, which removes
// the file. Calls are counted in SHIM_LOG, one line each.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong_t;

enum { // places in CK_FUNCTION_LIST, PKCS#11 v2.40 §5
	INITIALIZE = 0, GET_LIST = 3, SLOT_INFO = 5, TOKEN_INFO = 6, OPEN_SESSION = 12, CLOSE_SESSION = 13, CLOSE_ALL = 14,
	SESSION_INFO = 15, LOGIN = 18, LOGOUT = 19, CREATE_OBJECT = 20, ATTRIBUTE = 24, FIND_INIT = 26, FIND = 27, FIND_FINAL = 28, SIGN_INIT = 42, SIGN = 43, RANDOM = 64, FUNCTIONS = 68
};

struct list {
	unsigned char version[2];
	void *f[FUNCTIONS];
};

struct attribute {
	ulong_t type;
	void *value;
	ulong_t size;
};

static struct list ours, *theirs;
static ulong_t last_slot, last_session;
static int sessions;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
// SoftHSM crashes when sessions are closed under a call that uses them: calls hold
// this for reading, C_CloseAllSessions for writing.
static pthread_rwlock_t use = PTHREAD_RWLOCK_INITIALIZER;

static void note(const char *function)
{
	const char *path = getenv("SHIM_LOG");
	if (path == NULL)
		return;
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
	if (fd < 0)
		return;
	dprintf(fd, "%s\n", function);
	close(fd);
}

// order finds what a function is to do; value is what follows the action.
static int order(const char *function, char *action, char *value)
{
	const char *path = getenv("SHIM_CONTROL");
	FILE *file = path == NULL ? NULL : fopen(path, "r");
	if (file == NULL)
		return 0;
	char line[512], name[64];
	int found = 0;
	while (!found && fgets(line, sizeof line, file) != NULL) {
		action[0] = value[0] = 0;
		if (sscanf(line, "%63s %63s %255s", name, action, value) >= 2 && strcmp(name, function) == 0)
			found = 1;
	}
	fclose(file);
	if (found && strncmp(action, "once-", 5) == 0) {
		if (unlink(path) != 0)
			return 0; // another call was first
		memmove(action, action + 5, strlen(action + 5) + 1);
	}
	return found;
}

// obey does what every function can be told to do; it returns 1 if rv is the answer.
static int obey(const char *function, ulong_t *rv, char *action, char *value)
{
	note(function);
	if (!order(function, action, value)) {
		action[0] = 0;
		return 0;
	}
	if (strcmp(action, "hang") == 0)
		for (;;)
			pause();
	if (strcmp(action, "crash") == 0)
		*(volatile int *)0 = 1;
	if (strcmp(action, "print") == 0) {
		printf("a module that talks\n");
		fflush(stdout);
	}
	if (strcmp(action, "closeall") == 0) {
		pthread_rwlock_wrlock(&use);
		((ulong_t(*)(ulong_t))theirs->f[CLOSE_ALL])(last_slot);
		pthread_rwlock_unlock(&use);
		pthread_mutex_lock(&lock);
		sessions = 0;
		pthread_mutex_unlock(&lock);
	}
	if (strcmp(action, "logout") == 0) // of all sessions, which stay open
		((ulong_t(*)(ulong_t))theirs->f[LOGOUT])(last_session);
	if (strcmp(action, "slow") == 0)
		usleep(strtoul(value, NULL, 10) * 1000);
	if (strcmp(action, "rv") == 0) {
		*rv = strtoul(value, NULL, 16);
		return 1;
	}
	return 0;
}

// USE evaluates a call while no session is closed under it.
#define USE(call) \
	({ \
		pthread_rwlock_rdlock(&use); \
		ulong_t answer = (call); \
		pthread_rwlock_unlock(&use); \
		answer; \
	})

#define BEGIN(function) \
	char action[64], value[256]; \
	ulong_t rv; \
	if (obey(function, &rv, action, value)) \
		return rv;

static ulong_t initialize(void *args)
{
	BEGIN("C_Initialize")
	return ((ulong_t(*)(void *))theirs->f[INITIALIZE])(args);
}

static ulong_t slot_info(ulong_t slot, char *info)
{
	BEGIN("C_GetSlotInfo")
	rv = USE(((ulong_t(*)(ulong_t, void *))theirs->f[SLOT_INFO])(slot, info));
	if (strcmp(action, "gone") == 0)
		*(ulong_t *)(info + 96) &= ~1UL; // CKF_TOKEN_PRESENT
	return rv;
}

static ulong_t token_info(ulong_t slot, char *info)
{
	BEGIN("C_GetTokenInfo")
	rv = USE(((ulong_t(*)(ulong_t, void *))theirs->f[TOKEN_INFO])(slot, info));
	if (strcmp(action, "flags") == 0)
		*(ulong_t *)(info + 96) |= strtoul(value, NULL, 16);
	if (strcmp(action, "max") == 0)
		*(ulong_t *)(info + 104) = strtoul(value, NULL, 10); // ulMaxSessionCount
	return rv;
}

static ulong_t open_session(ulong_t slot, ulong_t flags, void *a, void *b, ulong_t *session)
{
	BEGIN("C_OpenSession")
	last_slot = slot;
	if (strcmp(action, "readwrite") == 0 && (flags & 2) == 0)
		return 6; // CKR_FUNCTION_FAILED, as CloudHSM's SDK 5 answers
	pthread_mutex_lock(&lock);
	if (strcmp(action, "limit") == 0 && sessions >= atoi(value)) {
		pthread_mutex_unlock(&lock);
		return 0xb1; // CKR_SESSION_COUNT
	}
	sessions++;
	pthread_mutex_unlock(&lock);
	rv = USE(((ulong_t(*)(ulong_t, ulong_t, void *, void *, ulong_t *))theirs->f[OPEN_SESSION])(slot, flags, a, b, session));
	if (rv == 0)
		last_session = *session;
	return rv;
}

static ulong_t close_session(ulong_t session)
{
	pthread_mutex_lock(&lock);
	if (sessions > 0)
		sessions--;
	pthread_mutex_unlock(&lock);
	return USE(((ulong_t(*)(ulong_t))theirs->f[CLOSE_SESSION])(session));
}

static ulong_t session_info(ulong_t session, void *info)
{
	BEGIN("C_GetSessionInfo")
	return USE(((ulong_t(*)(ulong_t, void *))theirs->f[SESSION_INFO])(session, info));
}

static ulong_t login(ulong_t session, ulong_t user, char *pin, ulong_t size)
{
	BEGIN("C_Login")
	if (strcmp(action, "tell") == 0)
		fprintf(stderr, "the PIN is %.*s, says a careless module\n", (int)size, pin);
	return USE(((ulong_t(*)(ulong_t, ulong_t, void *, ulong_t))theirs->f[LOGIN])(session, user, pin, size));
}

static ulong_t create_object(ulong_t session, struct attribute *a, ulong_t n, ulong_t *object)
{
	BEGIN("C_CreateObject")
	if (strcmp(action, "noprivate") == 0)
		for (ulong_t i = 0; i < n; i++)
			if (a[i].type == 0x11) // CKA_VALUE
				return 0xd1; // CKR_TEMPLATE_INCONSISTENT
	return USE(((ulong_t(*)(ulong_t, void *, ulong_t, ulong_t *))theirs->f[CREATE_OBJECT])(session, a, n, object));
}

static ulong_t attribute(ulong_t session, ulong_t object, struct attribute *a, ulong_t n)
{
	BEGIN("C_GetAttributeValue")
	char whole[67], *asked = NULL; // where a raw point of 65 bytes is wanted
	struct attribute *point = NULL;
	for (ulong_t i = 0; i < n && strcmp(action, "raw") == 0; i++)
		if (a[i].type == 0x181) // CKA_EC_POINT
			point = &a[i];
	if (point != NULL && point->value != NULL && point->size == 65) {
		asked = point->value;
		point->value = whole;
		point->size = sizeof whole;
	}
	rv = USE(((ulong_t(*)(ulong_t, ulong_t, void *, ulong_t))theirs->f[ATTRIBUTE])(session, object, a, n));
	if (point != NULL && rv == 0 && point->size == 67) {
		if (asked != NULL) {
			memcpy(asked, whole + 2, 65);
			point->value = asked;
		}
		point->size = 65;
	}
	if (strcmp(action, "point") == 0 && rv != 0 && n == 1 && a[0].type == 0x181) {
		a[0].size = strlen(value) / 2;
		for (ulong_t i = 0; a[0].value != NULL && i < a[0].size; i++)
			sscanf(value + 2 * i, "%2hhx", (unsigned char *)a[0].value + i);
		rv = 0;
	}
	return rv;
}

static ulong_t find_init(ulong_t session, void *a, ulong_t n)
{
	BEGIN("C_FindObjectsInit")
	return USE(((ulong_t(*)(ulong_t, void *, ulong_t))theirs->f[FIND_INIT])(session, a, n));
}

static ulong_t find(ulong_t session, ulong_t *objects, ulong_t max, ulong_t *n)
{
	return USE(((ulong_t(*)(ulong_t, ulong_t *, ulong_t, ulong_t *))theirs->f[FIND])(session, objects, max, n));
}

static ulong_t find_final(ulong_t session)
{
	return USE(((ulong_t(*)(ulong_t))theirs->f[FIND_FINAL])(session));
}

static ulong_t sign_init(ulong_t session, void *mechanism, ulong_t key)
{
	BEGIN("C_SignInit")
	if (strcmp(action, "key") == 0)
		key = strtoul(value, NULL, 10);
	return USE(((ulong_t(*)(ulong_t, void *, ulong_t))theirs->f[SIGN_INIT])(session, mechanism, key));
}

static ulong_t sign(ulong_t session, void *data, ulong_t size, unsigned char *sig, ulong_t *sigsize)
{
	if (sig == NULL) // only asks for the length
		return USE(((ulong_t(*)(ulong_t, void *, ulong_t, void *, ulong_t *))theirs->f[SIGN])(session, data, size, sig, sigsize));
	BEGIN("C_Sign")
	rv = USE(((ulong_t(*)(ulong_t, void *, ulong_t, void *, ulong_t *))theirs->f[SIGN])(session, data, size, sig, sigsize));
	if (strcmp(action, "flip") == 0)
		sig[40] ^= 1;
	if (strcmp(action, "zero") == 0)
		memset(sig, 0, *sigsize);
	if (strcmp(action, "cut") == 0)
		*sigsize -= strtoul(value, NULL, 10);
	return rv;
}

static ulong_t generate_random(ulong_t session, void *data, ulong_t size)
{
	BEGIN("C_GenerateRandom")
	return USE(((ulong_t(*)(ulong_t, void *, ulong_t))theirs->f[RANDOM])(session, data, size));
}

ulong_t C_GetFunctionList(struct list **out)
{
	if (theirs == NULL) {
		void *module = dlopen(getenv("SHIM_MODULE"), RTLD_NOW);
		ulong_t (*get)(struct list **) = module == NULL ? NULL : (ulong_t(*)(struct list **))dlsym(module, "C_GetFunctionList");
		if (get == NULL || get(&theirs) != 0)
			return 5; // CKR_GENERAL_ERROR
		ours = *theirs;
		ours.f[INITIALIZE] = initialize;
		ours.f[GET_LIST] = C_GetFunctionList;
		ours.f[SLOT_INFO] = slot_info;
		ours.f[TOKEN_INFO] = token_info;
		ours.f[OPEN_SESSION] = open_session;
		ours.f[CLOSE_SESSION] = close_session;
		ours.f[SESSION_INFO] = session_info;
		ours.f[LOGIN] = login;
		ours.f[CREATE_OBJECT] = create_object;
		ours.f[ATTRIBUTE] = attribute;
		ours.f[FIND_INIT] = find_init;
		ours.f[FIND] = find;
		ours.f[FIND_FINAL] = find_final;
		ours.f[SIGN_INIT] = sign_init;
		ours.f[SIGN] = sign;
		ours.f[RANDOM] = generate_random;
	}
	*out = &ours;
	return 0;
}
