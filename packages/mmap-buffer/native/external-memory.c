/*
 * One function: view(address, length, onFreed) -> ArrayBuffer over memory that is not V8's. `onFreed` is called, from the
 * event loop, when no ArrayBuffer over it is left: not the one returned here, and none that it was transferred to.
 *
 * Compiled to src/external-memory-code.ts by native/compile.sh; a test compiles it again and compares. It calls nothing
 * but Node-API, whose functions are those of the running node.
 */
typedef unsigned long size_t;
typedef int napi_status;
typedef void *napi_env, *napi_value, *napi_ref, *napi_callback_info, *napi_handle_scope;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
typedef void (*napi_finalize)(napi_env, void *data, void *hint);

napi_status napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
napi_status napi_get_value_int64(napi_env, napi_value, long *);
napi_status napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
napi_status napi_create_external_arraybuffer(napi_env, void *, size_t, napi_finalize, void *, napi_value *);
napi_status napi_create_reference(napi_env, napi_value, unsigned, napi_ref *);
napi_status napi_delete_reference(napi_env, napi_ref);
napi_status napi_get_reference_value(napi_env, napi_ref, napi_value *);
napi_status napi_get_undefined(napi_env, napi_value *);
napi_status napi_call_function(napi_env, napi_value, napi_value, size_t, const napi_value *, napi_value *);
napi_status napi_open_handle_scope(napi_env, napi_handle_scope *);
napi_status napi_close_handle_scope(napi_env, napi_handle_scope);

/* At the end of a thread no function can be called any more, and none needs to be. */
static void freed(napi_env env, void *data, void *reference)
{
	napi_handle_scope scope;
	napi_value callback, receiver;

	if (napi_open_handle_scope(env, &scope) != 0)
		return;
	if (napi_get_reference_value(env, reference, &callback) == 0 && napi_get_undefined(env, &receiver) == 0)
		napi_call_function(env, receiver, callback, 0, 0, 0);
	napi_delete_reference(env, reference);
	napi_close_handle_scope(env, scope);
}

/* undefined if anything is refused: an embedder may allow no external memory. */
static napi_value view(napi_env env, napi_callback_info info)
{
	size_t count = 3;
	napi_value arguments[3], result;
	napi_ref reference;
	long address, length;

	if (napi_get_cb_info(env, info, &count, arguments, 0, 0) != 0 ||
	    napi_get_value_int64(env, arguments[0], &address) != 0 ||
	    napi_get_value_int64(env, arguments[1], &length) != 0 ||
	    napi_create_reference(env, arguments[2], 1, &reference) != 0)
		return 0;
	if (napi_create_external_arraybuffer(env, (void *)address, length, freed, reference, &result) == 0)
		return result;
	napi_delete_reference(env, reference);
	return 0;
}

__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports)
{
	napi_value function;

	return napi_create_function(env, "view", 4, view, 0, &function) == 0 ? function : exports;
}
